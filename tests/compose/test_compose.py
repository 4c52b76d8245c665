"""docker-compose.yml on a real engine: hardened containers, and a load under which each of them is killed."""

import json
import subprocess
import sys
import time
from pathlib import Path

import container_load
import containers
import httpx
import pictures
import pytest
import services
from containers import Project
from importing import imported

pytestmark = pytest.mark.full
OURS = ("web", "worker", "housekeeper")
PYTHON_VERSION = "import platform; print(platform.python_version())"
SERVERS = ("redis", "postgres", "minio")


@pytest.mark.parametrize("service", OURS + SERVERS)
def test_every_container_is_hardened(project: Project, service: str) -> None:
    host = project.details(service)["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["PidsLimit"]
    if service in OURS:
        assert host["Memory"]
        assert project.details(service)["Config"]["User"] == "10001"


def test_redis_and_postgres_refuse_strangers(project: Project) -> None:
    assert "NOAUTH" in project("exec", "-T", "redis", "sh", "-c", "redis-cli get x 2>&1")
    tried = project("exec", "-T", "postgres", "sh", "-c", "psql -w -h 127.0.0.1 -U segue -c 'select 1' 2>&1 || true")
    assert "password" in tried


def test_a_folder_becomes_masks(project: Project, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(40):
        (photos / f"{number}.jpg").write_bytes(pictures.jpeg(640, 480, number))
    env = {**project.env, "SEGUE_KEY": project.key, "SEGUE_URL": project.url}
    command = [sys.executable, "-m", "segue_client", "folder", str(photos), "--out", str(tmp_path / "masks")]
    subprocess.run(command, env={**env, "PYTHONPATH": services.PYTHONPATH}, check=True, timeout=300)
    assert len(list((tmp_path / "masks").glob("*.png"))) == 40


def test_nothing_is_lost_when_every_container_is_killed_once(project: Project) -> None:
    with container_load.load(project) as accepted:
        time.sleep(5)
        project("up", "-d", "--no-recreate", "--no-deps", "--scale", "worker=3", "worker")
        for service in ("worker", "web", "housekeeper", "redis", "minio", "postgres"):
            time.sleep(4)
            project.kill(service)
        time.sleep(6)
        project("restart", "redis")
        time.sleep(6)
        project("restart", "web", "worker")
        time.sleep(6)
    assert len(accepted) > 100
    container_load.all_succeed(project, accepted)


def test_a_web_server_starts_while_postgresql_is_down(project: Project) -> None:
    """The server refuses every request until PostgreSQL answers. Then it serves them, without a restart."""
    project("stop", "postgres")
    project("restart", "web")

    def statuses() -> list[int]:
        with container_load.client(project) as http:
            return [http.get("/v1/queue").status_code, httpx.get(f"{project.url}/v1/queue").status_code]

    services.wait_until(lambda: statuses() == [503, 401], "the web server's answer without PostgreSQL")
    state = project.details("web")["State"]
    assert (state["Running"], project.details("web")["RestartCount"]) == (True, 0)
    project("start", "postgres")
    services.wait_until(lambda: statuses() == [200, 401], "the web server's answer with PostgreSQL")
    project("up", "-d", "--wait", "--no-recreate", "--scale", "worker=1")


def test_another_first_start_changes_nothing(project: Project) -> None:
    """It keeps the secrets and the containers, and creates no key."""
    before = [project.containers(service) for service in (*OURS, *SERVERS)]
    printed = project.first_start("--scale", "worker=1")
    assert "A valid API key exists already" in printed
    assert "seg_" not in printed
    assert [project.containers(service) for service in (*OURS, *SERVERS)] == before
    with container_load.client(project) as http:
        assert http.get("/v1/queue").status_code == 200


@pytest.mark.parametrize("image", ["segue-web", "segue-worker"])
def test_the_sbom_lists_what_the_image_contains(project: Project, tmp_path: Path, image: str) -> None:
    sbom = imported(services.ROOT / "scripts" / "sbom.py")
    python = containers.docker(project.env, "run", "--rm", image, "python", "-c", PYTHON_VERSION)
    sbom.write(image, tmp_path / "sbom.json", python)
    listed = {(one["name"], one["version"]) for one in json.loads((tmp_path / "sbom.json").read_text())["components"]}
    found = json.loads(containers.docker(project.env, "run", "--rm", image, "pip", "list", "--format", "json"))
    installed = {(one["name"].lower().replace("_", "-").replace(".", "-"), one["version"]) for one in found}
    assert {one for one in installed ^ listed if one[0] != "pip"} == set()


def test_the_doctor_finds_nothing(project: Project) -> None:
    report = project("run", "--rm", "setup", "python", "-m", "segue", "doctor")
    assert all(line.startswith("ok") for line in report.splitlines() if line), report


def test_a_stop_ends_every_program_cleanly(project: Project) -> None:
    project("stop", *OURS)
    states = project("ps", "-a", "--format", "{{.Service}} {{.ExitCode}}", *OURS).splitlines()
    assert {line.split()[1] for line in states} == {"0"}, states
