"""A web process without workers: a job is pending until a test processes it."""

from collections.abc import Callable, Iterator

import pytest
import services
import shared_services
from services import SHIPPED_MODEL

from storage.connection import Storage
from storage.settings import Settings
from worker.engines import Engines
from worker.pipeline.pipeline import Pipeline


@pytest.fixture(scope="module")
def web_without_workers(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of the web process."""
    port, log = services.free_ports(1), tmp_path_factory.mktemp("web") / "gunicorn.log"
    started = services.start(services.procfile("web"), services.joining(settings, PORT=port), port, log)
    with shared_services.watch(started):
        yield f"http://127.0.0.1:{port}"
    started.stop()
    assert "Traceback" not in log.read_text()


@pytest.fixture
def work(connection: Storage) -> Callable[[], None]:
    """Return a function that processes all pending jobs."""
    connection.models.publish(SHIPPED_MODEL)
    pipeline = Pipeline(connection, Engines(connection), "worker")
    return lambda: pipeline.run("drainer")
