"""The web app over real services, and a worker that runs when a test says so."""

from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from services import SHIPPED_MODEL

from storage import Storage
from web.app import create_app
from worker.engines import Engines
from worker.pipeline import Pipeline


@pytest.fixture
def app(connection: Storage) -> Flask:
    return create_app(connection.settings)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def work(connection: Storage) -> Callable[[], None]:
    """Everything that waits gets done."""
    connection.models.publish(SHIPPED_MODEL)
    pipeline = Pipeline(connection, Engines(connection.models, connection.settings.model_cache), "worker")
    return lambda: pipeline.run("drainer")
