"""The exposure of the real server: trusted proxies, and configurations that must not start."""

import contextlib
import http.client
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pictures
import pytest
import services
from callers import SECRET, bearer, guarded, new_key
from pydantic import SecretStr
from services import Service

from storage.connection import Storage, connect
from storage.records import schema
from storage.settings import Settings
from web.access.exposure import is_loopback, is_open, refusal

JPEG = pictures.jpeg()
FORGED = {"X-Forwarded-For": "9.9.9.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "segue.example"}


def started(settings: Settings, tmp_path: Path, **changes: object) -> "subprocess.CompletedProcess[str]":
    """Run the Procfile's command with changed settings until it ends."""
    env = services.joining(settings, **{"PORT": services.free_ports(1), "SESSION_SECRET": SECRET, **changes})
    return subprocess.run(
        services.procfile("web"), env=env, cwd=services.ROOT, capture_output=True, text=True, check=False, timeout=30
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"BIND": "0.0.0.0"}, "there is no API key"),
        ({"BIND": "0.0.0.0", "SQL_URL": "sqlite:////nowhere/records.db"}, "cannot be read"),
        ({"BIND": "0.0.0.0", "SESSION_SECRET": "short"}, "SESSION_SECRET"),
        ({"PUBLIC_PAGE": "1", "SESSION_SECRET": ""}, "SESSION_SECRET"),
        ({"REQUIRE_KEYS": "1", "SESSION_SECRET": ""}, "SESSION_SECRET"),
        ({"TRUSTED_PROXY": "the proxy"}, "TRUSTED_PROXY"),
    ],
)
def test_an_unsafe_configuration_ends_with_its_reason(
    settings: Settings, tmp_path: Path, changes: dict[str, str], reason: str
) -> None:
    empty = f"sqlite:///{tmp_path}/empty.db"
    schema.migrate(connect(settings.replace(sql_url=SecretStr(empty))).database)
    done = started(settings, tmp_path, **{"SQL_URL": empty, **changes})
    assert done.returncode not in (0, None)
    lines = [line for line in done.stderr.splitlines() if " INFO " not in line]
    assert len(lines) == 1, done.stderr
    assert reason in lines[0]
    assert "Booting worker" not in done.stderr


def test_a_server_does_not_start_on_a_database_without_tables(settings: Settings, tmp_path: Path) -> None:
    done = started(settings, tmp_path, BIND="0.0.0.0", SQL_URL=f"sqlite:///{tmp_path}/new.db")
    assert done.returncode != 0
    assert "segue setup" in done.stderr
    assert "Traceback" not in done.stderr


@contextlib.contextmanager
def running(settings: Settings, log: Path, **changes: object) -> Iterator[Service]:
    port = services.free_ports(1)
    env = services.joining(settings, PORT=port, SESSION_SECRET=SECRET, **changes)
    service = services.start(services.procfile("web"), env, port, log)
    try:
        yield service
    finally:
        service.stop()
        assert "Traceback" not in log.read_text()


def ask(port: int, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_with_a_key_the_server_starts_and_several_processes_answer(
    connection: Storage, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path}/records.db"
    if kind == "postgresql":
        url = services.postgres_url(request.getfixturevalue("postgres").port)
    made = connect(connection.settings.replace(sql_url=SecretStr(url)))
    schema.migrate(made.database)
    key = bearer(new_key(made))
    assert refusal(made.settings.replace(bind="0.0.0.0", session_secret=SecretStr(SECRET))) == ""
    made.database.dispose()
    with running(connection.settings, tmp_path / "log", BIND="0.0.0.0", SQL_URL=url, WEB_PROCESSES=2) as web:
        photo = {**key, "Content-Type": "image/jpeg"}
        assert {ask(web.port, "GET", "/v1/queue", key).status for _ in range(20)} == {200}
        assert {ask(web.port, "POST", "/v1/jobs", photo, pictures.jpeg()).status for _ in range(5)} == {202}
        assert ask(web.port, "GET", "/v1/queue", {}).status == 401
        assert ask(web.port, "GET", "/readyz", {}).status == 200


def answers(port: int, credentials: dict[str, str]) -> tuple[int, int]:
    """The statuses of a read and of an upload."""
    photo = {**credentials, "Content-Type": "image/jpeg"}
    return ask(port, "GET", "/v1/queue", credentials).status, ask(port, "POST", "/v1/jobs", photo, JPEG).status


@pytest.mark.parametrize("exposed", [{"BIND": "0.0.0.0"}, {"REQUIRE_KEYS": "1"}])
def test_a_server_that_starts_while_postgresql_is_stopped_admits_nobody(
    connection: Storage, tmp_path: Path, own_postgres: Service, exposed: dict[str, str]
) -> None:
    url = services.postgres_url(own_postgres.port)
    made = connect(connection.settings.replace(sql_url=SecretStr(url)))
    schema.migrate(made.database)
    key, unknown = bearer(new_key(made)), bearer(f"seg_{'0' * 12}_{'x' * 43}")
    made.database.dispose()
    own_postgres.stop(signal.SIGINT)
    log = tmp_path / "log"
    with running(connection.settings, log, **exposed, SQL_URL=url, KEY_CACHE_S=1) as web:
        assert answers(web.port, key) == answers(web.port, unknown) == (503, 503)
        assert answers(web.port, {}) == (401, 401)
        assert ask(web.port, "POST", "/session", key).status == 503
        assert ask(web.port, "GET", "/healthz", {}).status == 200
        ready = httpx.get(f"http://127.0.0.1:{web.port}/readyz")
        assert (ready.status_code, ready.json()["redis"], ready.json()["api_keys"]) == (503, True, False)
        own_postgres.start_again()
        services.wait_until(lambda: ask(web.port, "GET", "/readyz", {}).status == 200, "the web server's readiness")
        services.wait_until(lambda: answers(web.port, key) == (200, 202), "the key")
        assert answers(web.port, unknown) == answers(web.port, {}) == (401, 401)
        own_postgres.stop(signal.SIGINT)
        assert ask(web.port, "GET", "/readyz", {}).status == 200  # it knows its callers
        assert answers(web.port, key) == (200, 202)
    assert log.read_text().count("api_keys_unreadable") == log.read_text().count("api_keys_readable") == 1


@pytest.fixture
def own_postgres() -> Iterator[Service]:
    """A PostgreSQL that a test may stop. It runs as another user, who could not read a `tmp_path` folder."""
    with tempfile.TemporaryDirectory(prefix="segue-postgres-") as folder:
        service = services.start_postgres(Path(folder))
        yield service
        if service.is_alive():
            service.stop(signal.SIGINT)


def test_forged_headers_are_ignored_and_the_proxys_are_used(connection: Storage, tmp_path: Path) -> None:
    """On the real server, because gunicorn trusts loopback by default."""
    key = bearer(new_key(connection))
    asked = {"REQUIRE_KEYS": "1", "LIMIT_ADDRESS": "2/hour"}
    wrong = {"Authorization": "nonsense"}

    def statuses(port: int) -> list[int]:
        clients = [{**wrong, "X-Forwarded-For": f"6.6.6.6, 10.9.9.{n}"} for n in range(4)]
        return [ask(port, "GET", "/v1/queue", headers).status for headers in clients]

    with running(connection.settings, tmp_path / "log", **asked) as web:
        answer = ask(web.port, "POST", "/session", {**key, **FORGED})
        assert "Secure" not in str(answer.headers)
        assert ask(web.port, "POST", "/session", {**key, **FORGED, "Origin": "https://segue.example"}).status == 403
        assert statuses(web.port) == [401, 401, 429, 429]
    connection.jobs.client.flushall()
    with running(connection.settings, tmp_path / "log", **asked, TRUSTED_PROXY="10.0.0.0/8, 127.0.0.1") as web:
        answer = ask(web.port, "POST", "/session", {**key, **FORGED, "Origin": "https://segue.example"})
        assert (answer.status, str(answer.headers).count("Secure")) == (204, 2)
        assert statuses(web.port) == [401, 401, 401, 401]


def test_only_the_configured_proxy_is_trusted(connection: Storage) -> None:
    app = guarded(connection, limit_address="1/hour", trusted_proxy="10.0.0.0/24, fd00::5")

    def status(proxy: str, forwarded: str) -> int:
        headers = {"Authorization": "nonsense", "X-Forwarded-For": forwarded}
        answer = app.test_client().get("/v1/queue", headers=headers, environ_base={"REMOTE_ADDR": proxy})
        return answer.status_code

    assert [status("10.0.0.7", f"1.1.1.{n}") for n in range(3)] == [401] * 3
    assert [status("fd00::5", f"1.1.2.{n}") for n in range(3)] == [401] * 3
    assert [status("::ffff:10.0.0.7", f"1.1.3.{n}") for n in range(3)] == [401] * 3
    assert [status("10.0.1.7", f"1.1.4.{n}") for n in range(3)] == [401, 429, 429]
    assert [status("10.0.0.7", f"1.1.5.{n}, 1.2.3.4") for n in range(3)] == [401, 429, 429]


def test_a_public_page_needs_no_key_to_start(settings: Settings, tmp_path: Path) -> None:
    asked = settings.replace(bind="0.0.0.0", public_page=True, sql_url=SecretStr(f"sqlite:///{tmp_path}/none.db"))
    assert "SESSION_SECRET" in refusal(asked)
    assert refusal(asked.replace(session_secret=SecretStr(SECRET))) == ""


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "127.8.8.8", "::1", "[::1]"])
def test_loopback(name: str) -> None:
    assert is_loopback(name)
    assert is_open(Settings(bind=name))
    assert not is_open(Settings(bind=name, require_keys=True))
    assert not is_open(Settings(bind=name, public_page=True))


@pytest.mark.parametrize("name", ["", "0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.evil.example", "127.1"])
def test_not_loopback(name: str) -> None:
    assert not is_loopback(name)
    assert not is_open(Settings(bind=name))
