"""What docker-compose.yml leaves to the operator: SeaweedFS, TLS, and the profiles `monitoring` and `training`.

Grafana is left out, because Debian has no package from which to build a stand-in image.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import container_load
import containers
import httpx
import pytest
import services
from certificates import Authority
from containers import Project

pytestmark = pytest.mark.full
PROGRAMS = ("web", "worker", "housekeeper", "trainer")
SERVICES = ("nginx", *PROGRAMS, "prometheus")
STRANGER = """
import urllib.error, urllib.request
try:
    urllib.request.urlopen("http://minio:9000/segue-uploads/x")
except urllib.error.HTTPError as error:
    print(error.code)
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as TLS names it. nginx' user reads both files."""
    folder = tmp_path_factory.mktemp("tls")
    pem = authority.server_file().read_bytes()
    for name in ("tls.crt", "tls.key"):
        (folder / name).write_bytes(pem)
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def prometheus_port() -> int:
    return services.free_ports(1)


@pytest.fixture(scope="module")
def project(
    engine: dict[str, str], tmp_path_factory: pytest.TempPathFactory, certificate: Path, authority: Authority,
    prometheus_port: int,
) -> Iterator[Project]:  # fmt: skip
    """The whole, as scripts/first_start.sh starts it."""
    containers.build(engine, "web", "worker", "trainer")
    variables = {
        "COMPOSE_FILE": "docker-compose.yml:compose.seaweedfs.yml", "COMPOSE_PROFILES": "monitoring,training",
        "TLS": str(certificate), "PROMETHEUS_PORT": str(prometheus_port),
    }  # fmt: skip
    with containers.project(engine, tmp_path_factory.mktemp("variants") / "secrets", **variables) as found:
        yield replace(found, ca=authority.ca).first_started("--scale", "worker=1", *SERVICES)


def test_photos_become_masks_over_tls(project: Project) -> None:
    with container_load.load(project) as accepted:
        time.sleep(5)
    assert len(accepted) > 20
    container_load.all_succeed(project, accepted)


def test_nginx_accepts_only_tls(project: Project) -> None:
    assert httpx.get(f"http://127.0.0.1:{project.port}/healthz").status_code == 400
    with container_load.client(project) as https:
        assert https.get("/healthz").status_code == 200


def test_seaweedfs_refuses_strangers(project: Project) -> None:
    assert "weed" in str(project.details("minio")["Config"]["Entrypoint"])
    assert project("exec", "-T", "web", "python", "-c", STRANGER) == "403"


def test_nothing_is_lost_when_seaweedfs_is_killed(project: Project) -> None:
    with container_load.load(project) as accepted:
        time.sleep(4)
        project.kill("minio")
        time.sleep(15)
    container_load.all_succeed(project, accepted)


@pytest.mark.parametrize("service", ["minio", "trainer", "prometheus", "nginx"])
def test_the_other_containers_are_hardened(project: Project, service: str) -> None:
    host = project.details(service)["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges:true"])
    assert host["Memory"]


def asked(port: int, path: str, **parameters: str) -> dict[str, Any]:
    answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["data"])


def test_prometheus_reads_every_program(project: Project, prometheus_port: int) -> None:
    addresses = {f"{address}:9400" for name in PROGRAMS for address in addresses_of(project, name)}
    assert len(addresses) == 5  # two web servers

    def up() -> set[str]:
        series = asked(prometheus_port, "query", query='up{job="segue"} == 1')["result"]
        return {one["metric"]["instance"] for one in series}

    services.wait_until(lambda: up() == addresses, "a scrape of every program")
    accepted = asked(prometheus_port, "query", query="max(segue_jobs_accepted_total)")["result"]
    assert float(accepted[0]["value"][1]) > 20
    assert asked(prometheus_port, "rules")["groups"]


def addresses_of(project: Project, service: str) -> list[str]:
    """The addresses of a service's containers in the network that they share with Prometheus."""
    name = f"{project.env['COMPOSE_PROJECT_NAME']}_metrics"
    form = f'{{{{(index .NetworkSettings.Networks "{name}").IPAddress}}}}'
    return [containers.docker(project.env, "inspect", "-f", form, one) for one in project.containers(service)]


def test_the_trainer_takes_a_run(project: Project) -> None:
    """It ranks an inbox that is empty."""
    assert project.details("trainer")["State"]["Health"]["Status"] == "healthy"
    admin = replace(project, key=project.create_key("--scope", "admin").splitlines()[-1])
    with container_load.client(admin) as http:
        made = http.post("/v1/training/runs", json={"kind": "score"})
        assert made.status_code == 202, made.text
        path = f"/v1/training/runs/{made.json()['id']}"
        services.wait_until(lambda: http.get(path).json()["status"] in ("succeeded", "failed"), "the trainer")
        assert http.get(path).json()["status"] == "succeeded"


def test_a_stop_ends_trainer_and_prometheus_cleanly(project: Project) -> None:
    project("stop", "trainer", "prometheus")
    states = project("ps", "-a", "--format", "{{.Service}} {{.ExitCode}}", "trainer", "prometheus").splitlines()
    assert {line.split()[1] for line in states} == {"0"}, states
