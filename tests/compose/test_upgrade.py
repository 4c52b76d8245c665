"""The upgrade that docs/run-in-production.md describes, from an earlier commit's containers to these, under load."""

import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import container_load
import containers
import pytest
import services
from containers import Project

pytestmark = pytest.mark.full
# The last release or, until there is one, the commit before the containers' first start was a script.
PREVIOUS = "d56adb7"
SUBNET = "172.16.254.0/24"  # of both versions: Docker does not replace a network that nginx uses


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The previous version's tree."""
    folder = tmp_path_factory.mktemp("previous")
    subprocess.run(["git", "archive", "--output", str(folder / "code.tar"), PREVIOUS], cwd=services.ROOT, check=True)
    with tarfile.open(folder / "code.tar") as archive:
        archive.extractall(folder, filter="data")
    return folder


def write_roles(code: Path, project: Project) -> None:
    env = {**project.env, "PYTHONPATH": f"{code}:{code / 'client'}"}
    subprocess.run([sys.executable, "-m", "segue", "roles", project.env["ROLES"]], env=env, cwd=code, check=True)


@pytest.fixture
def project(engine: dict[str, str], previous: Path, tmp_path: Path) -> Iterator[Project]:
    """The previous version's containers, from its own docker-compose.yml."""
    containers.build(engine, "web", "worker", code=previous)
    with containers.project(engine, tmp_path / "secrets", WEB_SUBNET=SUBNET) as found:
        old = replace(found, folder=previous)
        write_roles(previous, old)
        key = old.create_key().splitlines()[-1]
        old("up", "-d", "--wait", "--scale", "worker=2")
        yield replace(old, key=key)


def test_an_upgrade_under_load_loses_nothing(project: Project) -> None:
    new = replace(project, folder=services.ROOT)
    before = {service: image_of(project, service) for service in ("web", "worker", "housekeeper")}
    with container_load.load(project) as accepted:
        time.sleep(5)
        sent_before = len(accepted)
        write_roles(services.ROOT, new)
        new("up", "-d", "--no-deps", "--force-recreate", "redis")
        containers.build(new.env, "web", "worker")
        new("run", "--rm", "setup")
        new("up", "-d", "--no-deps", "--scale", "worker=2", "housekeeper", "worker", "web")
        time.sleep(5)
        new("up", "-d", "--wait", "--scale", "worker=2")
        sent_meanwhile = len(accepted) - sent_before
        time.sleep(5)
    print(f"{sent_before} jobs before the upgrade, {sent_meanwhile} during it")
    assert sent_before > 10
    assert sent_meanwhile > 10
    container_load.all_succeed(new, accepted)
    for service, image in before.items():
        assert image_of(new, service) != image
    report = new("run", "--rm", "setup", "python", "-m", "segue", "doctor")
    assert all(line.startswith("ok") for line in report.splitlines() if line), report


def image_of(project: Project, service: str) -> object:
    return project.details(service)["Image"]
