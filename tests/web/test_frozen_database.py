"""A frozen PostgreSQL: its connections stay open, and no response arrives."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import damage
import httpx
import pictures
import pytest
import services
from callers import SECRET, bearer
from pydantic import SecretStr
from services import Service

from storage.connection import Storage, connect
from storage.records import schema
from storage.records.api_key import Scope
from storage.records.sql import Database
from storage.settings import Settings


@pytest.fixture
def key(settings: Settings, postgres: Service) -> str:
    database = Database(services.postgres_url(postgres.port))
    schema.migrate(database)
    database.dispose()
    made = connect(settings.replace(sql_url=SecretStr(database.url)))
    _, text = made.api_keys.create("acme", frozenset(Scope))
    made.database.dispose()
    return text


@pytest.fixture
def web(settings: Settings, postgres: Service, tmp_path: Path, key: str) -> Iterator[httpx.Client]:
    """The real server, which requires keys and looks a known key up again after a second."""
    port, url = services.free_ports(1), services.postgres_url(postgres.port)
    changes = {"PORT": port, "REQUIRE_KEYS": 1, "SESSION_SECRET": SECRET, "KEY_CACHE_S": 1}
    env = {**services.joining(settings, **changes), "SQL_URL": url}
    service = services.start(services.procfile("web"), env, port, tmp_path / "log")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=bearer(key), timeout=60) as client:
        services.wait_until(lambda: client.get("/readyz").status_code == 200, "the web")
        yield client
    service.stop()


def test_a_known_key_works_and_lists_are_unavailable(connection: Storage, web: httpx.Client, postgres: Service) -> None:
    assert web.get("/v1/jobs").status_code == 200
    everybody = [postgres.process.pid, *damage.children(postgres.process.pid)]
    for pid in everybody:
        damage.kill([pid], signal.SIGSTOP)
    try:
        time.sleep(1.2)  # the key must be looked up again
        started = time.monotonic()
        answers = [
            web.get("/v1/jobs"),
            web.post("/v1/jobs", content=pictures.jpeg(), headers={"Content-Type": "image/jpeg"}),
        ]
        assert [answer.status_code for answer in answers] == [503, 202]
        assert time.monotonic() - started < 30
    finally:
        for pid in everybody:
            damage.kill([pid], signal.SIGCONT)
    services.wait_until(lambda: web.get("/v1/jobs").status_code == 200, "the lists")
