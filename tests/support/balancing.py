"""nginx with deploy/nginx/segue.conf, in front of servers that a test has started."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import services


@contextmanager
def nginx_alone(folder: Path, **settings: object) -> Iterator[int]:
    """Yield the port of an nginx with these settings of deploy/nginx.sh."""
    port = services.free_ports(1)
    env = services.environment(VAR=folder, PORT=port, **settings)
    service = services.start(["deploy/nginx.sh"], env, port, folder / "nginx.log")
    try:
        yield port
    finally:
        service.stop()


def at(*ports: int) -> str:
    """The servers at these ports of loopback, as WEB_SERVERS names them."""
    return " ".join(f"127.0.0.1:{port}" for port in ports)
