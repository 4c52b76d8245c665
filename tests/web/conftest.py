"""The Flask app over real services, and a worker that runs when a test calls it."""

from collections.abc import Callable, Iterator

import pytest
import services
import shared_services
from flask import Flask
from flask.testing import FlaskClient
from services import SHIPPED_MODEL, Service

from storage.connection import Storage
from storage.settings import Settings
from web.app import create_app
from worker.engines import Engines
from worker.pipeline.pipeline import Pipeline


@pytest.fixture
def app(connection: Storage) -> Flask:
    return create_app(connection.settings)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def work(connection: Storage) -> Callable[[], None]:
    """Return a function that processes all pending jobs."""
    connection.models.publish(SHIPPED_MODEL)
    pipeline = Pipeline(connection, Engines(connection), "worker")
    return lambda: pipeline.run("drainer")


@pytest.fixture(scope="module")
def server(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One process of the real web server, as the Procfile starts it.

    Heads and bodies have more time than by default, so that those a test holds do not end on a
    loaded machine.
    """
    port, log = services.free_ports(1), tmp_path_factory.mktemp("server") / "gunicorn.log"
    env = services.joining(settings, PORT=port, HEAD_S=120, BODY_RATE=0)
    started = services.start(services.procfile("web"), env, port, log)
    with shared_services.watch(started):
        yield started
    started.stop()
    assert "Traceback" not in log.read_text()
