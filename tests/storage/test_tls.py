"""Redis, Celery's broker and S3 over TLS: a server with a wrong certificate is refused."""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from certificates import Authority, speaking_tls
from kombu.exceptions import OperationalError
from pydantic import ValidationError
from specs import spec

from storage.connection import Storage, connect
from storage.keys import SEGMENT_QUEUE
from storage.objects import UPLOADS
from storage.problems import Unavailable
from storage.queue.tickets import SEGMENT_BATCH, celery_app
from storage.settings import Settings

Reach = Callable[..., Storage]
FOREIGN_ADDRESS = "127.0.0.9"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def reach(settings: Settings, authority: Authority, connection: Storage) -> Any:
    """Return a factory of Storage over TLS; `how` describes the server's certificate."""
    with ExitStack() as stack:

        def over_tls(ca: Path | None, **how: Any) -> Storage:
            context = authority.server(**how)
            ports = {name: urlsplit(url).port or 0 for name, url in (("r", settings.redis_url), ("s", settings.s3_url))}
            redis_port, s3_port = (stack.enter_context(speaking_tls(context, port)) for port in ports.values())
            made = connect(
                settings.replace(
                    redis_url=f"rediss://127.0.0.1:{redis_port}/0", redis_ca=ca,
                    s3_url=f"https://127.0.0.1:{s3_port}", s3_ca=ca,
                )
            )  # fmt: skip
            stack.callback(made.jobs.client.close)
            return made

        yield over_tls


def test_every_connection_uses_tls(reach: Reach, authority: Authority) -> None:
    storage = reach(authority.ca)
    assert storage.jobs.enqueue(spec()) == 1
    storage.objects.put(UPLOADS, "over-tls", b"x", "image/jpeg")
    assert storage.objects.get(UPLOADS, "over-tls") == b"x"
    storage.tickets.send(1)
    app = celery_app(storage.settings.redis_url, storage.settings.redis_ca)
    with app.connection_for_read() as broker:
        assert broker.default_channel.basic_get(SEGMENT_QUEUE).headers["task"] == SEGMENT_BATCH


WRONG: dict[str, dict[str, Any]] = {
    "another address": {"address": FOREIGN_ADDRESS},
    "out of date": {"valid_until": datetime.now(UTC) - timedelta(hours=1)},
}


def refused(storage: Storage) -> None:
    with pytest.raises(redis.ConnectionError, match=r"(?i)certificate"):
        storage.jobs.client.ping()
    for use in (lambda: storage.objects.get(UPLOADS, "x"), storage.objects.make_buckets):  # obstore, the SDK
        with pytest.raises(Unavailable) as away:
            use()
        assert "certificate" in str(away.value.__cause__).lower()
    app = celery_app(storage.settings.redis_url, storage.settings.redis_ca)
    with pytest.raises((OperationalError, redis.ConnectionError), match=r"(?i)certificate"):
        app.connection_for_read().ensure_connection(max_retries=1, interval_start=0)


@pytest.mark.parametrize("what", WRONG)
def test_a_server_with_the_wrong_certificate_is_refused(reach: Reach, authority: Authority, what: str) -> None:
    refused(reach(authority.ca, **WRONG[what]))


def test_a_certificate_of_another_authority_is_refused(reach: Reach, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    refused(reach(Authority(tmp_path / "other").ca))
    refused(reach(None))


WEAK: tuple[dict[str, str], ...] = (
    {"redis_url": "rediss://127.0.0.1/0?ssl_cert_reqs=none"},
    {"redis_url": "rediss://127.0.0.1/0?ssl_check_hostname=False"},
    {"redis_url": "http://127.0.0.1/0"},
    {"redis_url": "redis://127.0.0.1/0", "redis_ca": __file__},
    {"redis_url": "rediss://127.0.0.1/0", "redis_ca": "/no/such/file"},
    {"s3_url": "http://127.0.0.1", "s3_ca": __file__},
    *(
        {"sql_url": f"postgresql+psycopg://a@b/c?sslmode={mode}"}
        for mode in ("allow", "prefer", "require", "verify-ca")
    ),
)


@pytest.mark.parametrize("weak", WEAK, ids=map(str, range(len(WEAK))))
def test_settings_that_weaken_tls_are_refused_at_start(weak: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"REDIS_|S3_|SQL_URL"):
        Settings(**weak)  # type: ignore[arg-type]


def test_settings_that_verify_certificates_are_accepted() -> None:
    sql_url = "postgresql+psycopg://a@b/c?sslmode=verify-full&sslrootcert=/ca.pem"
    assert Settings(redis_url="rediss://127.0.0.1/0", redis_ca=Path(__file__), sql_url=sql_url)  # type: ignore[arg-type]
