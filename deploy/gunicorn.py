"""Configuration of gunicorn: `gunicorn -c deploy/gunicorn.py 'web.app:create_app()'`."""

# ruff: noqa: E402
import gevent
from gevent import monkey

monkey.patch_all()  # before anything imports ssl or sockets; gunicorn itself would do it too late

from web.http.polling import poll_without_switching

poll_without_switching()

import gc
import sys
from typing import Any

from storage.settings import Settings
from telemetry import traces
from web.access.exposure import refusal

_settings = Settings()

_host = f"[{_settings.bind}]" if ":" in _settings.bind else _settings.bind
bind = f"{_host}:{_settings.port}"
workers = _settings.web_processes
worker_class = "web.http.worker.Worker"  # gevent with limits: docs/decisions/0003 and 0016
worker_connections = _settings.max_connections
keepalive = 75  # seconds; longer than a client usually pauses between two polls
graceful_timeout = 8  # idle keep-alive connections count as busy: longer would only delay every restart
timeout = 60
limit_request_line = 8190
limit_request_fields = 100
control_socket_disable = True
logger_class = "web.http.logger.GunicornLogger"
# By default gunicorn trusts the forwarded headers of any client on this machine. web/access/proxy.py decides instead.
forwarded_allow_ips = ""


def on_starting(_: Any) -> None:
    """Refuse unsafe settings.

    Runs in the master, which would restart a worker that exits again and again.
    """
    if reason := refusal(_settings):
        sys.exit(reason)


def post_worker_init(worker: Any) -> None:
    """Serve the worker's metrics. When it stops, end its waiting requests: their clients reach another worker."""
    from storage import monitoring  # noqa: PLC0415 - the master, which imports this file, needs none of it
    from storage.roles.roles import Role  # noqa: PLC0415

    monitoring.serve(worker.wsgi.extensions["storage"], Role.WEB)

    def watch() -> None:
        while worker.alive:
            gevent.sleep(0.5)
        worker.wsgi.extensions["waiting"].close()

    gevent.spawn(watch)

    # The collector need not look again at what an idle worker has loaded: this held up all requests for 0.1 s.
    gc.collect()
    gc.freeze()


def worker_exit(_: Any, worker: Any) -> None:
    """After a worker's last request, write its journal and send its last spans."""
    if worker.booted:
        worker.wsgi.extensions["journal"].flush()
        traces.stop()
