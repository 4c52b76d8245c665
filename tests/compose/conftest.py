"""A Docker engine with our images, and projects on it. One project runs at a time, for the length of a module."""

from collections.abc import Iterator

import containers
import pytest
from containers import Project


@pytest.fixture(scope="session")
def engine() -> Iterator[dict[str, str]]:
    """The environment of docker's clients, which names the images."""
    if lacking := containers.missing():
        pytest.skip(f"needs {', '.join(lacking)} (Debian: docker.io mmdebstrap iptables)")
    with containers.engine() as docker:
        yield {**docker, **containers.standins(docker)}


@pytest.fixture(scope="module")
def project(engine: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """What scripts/first_start.sh starts."""
    containers.build(engine, "web", "worker")
    with containers.project(engine, tmp_path_factory.mktemp("compose") / "secrets") as found:
        yield found.first_started("--scale", "worker=1")
