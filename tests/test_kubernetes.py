"""The manifests for Kubernetes and the chart: valid, hardened, and the same programs as docker-compose.yml."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import manifests
import pytest
import yaml
from composed import RUN, compose
from manifests import CHART, Document
from services import ROOT

from storage.settings import Settings
from storage.version import VERSION

FOLDER = ROOT / "deploy" / "kubernetes"
PLAIN = (FOLDER / "segue.yaml").read_text()
# Every optional part, and workers on GPUs.
EVERYTHING = (
    "-f", str(CHART / "values-gpu.yaml"), "--set", "worker.keda.enabled=true,trainer.enabled=true",
    "--set", "ingress.enabled=true,ingress.tlsSecret=segue-tls,images.tag=v1,authorities=segue-authorities",
)  # fmt: skip
ROLE = "app.kubernetes.io/component"
SETUP = "segue-setup"
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


@pytest.fixture(scope="module")
def everything() -> list[Document]:
    return manifests.documents(manifests.rendered(*EVERYTHING))


def every_plain_document() -> list[Document]:
    return [one for file in sorted(FOLDER.glob("*.yaml")) for one in manifests.documents(file.read_text())]


def test_the_plain_manifests_are_the_chart_with_its_default_values() -> None:
    assert PLAIN.split("\n", 2)[2] == manifests.rendered()


def test_helm_accepts_the_chart() -> None:
    manifests.helm("lint", "--strict", str(CHART))
    manifests.helm("lint", "--strict", str(CHART), *EVERYTHING)


def test_the_chart_installs_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)
    assert manifests.OLDEST in chart["kubeVersion"]


def test_every_document_is_valid(everything: list[Document]) -> None:
    found = [*every_plain_document(), *everything]
    assert {one["kind"] for one in found} >= {"Deployment", "Job", "Pod", "Ingress", "NetworkPolicy", "ScaledObject"}
    for document in found:
        manifests.validate(document)


def test_an_unknown_field_is_refused(everything: list[Document]) -> None:
    for document in everything:
        broken = copy.deepcopy(document)
        broken["spec"]["replica"] = 1
        with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError)):
            manifests.validate(broken)


def test_the_default_values_fit_their_schema() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(values, schema)
    assert set(schema["required"]) == set(values)


@pytest.mark.parametrize("wrong", ["web.replica=3", "settings.S3_URL=1", "settings.s3_url=x", "network.redis.port=0"])
def test_helm_refuses_wrong_values(wrong: str) -> None:
    done = manifests.helm("template", str(CHART), "--set", wrong, check=False)
    assert done.returncode != 0
    assert re.split(r"[.=]", wrong)[-2] in done.stderr


def values_in_the_document() -> list[str]:
    blocks = re.findall(r"^```\n(.*?)^```$", (ROOT / "docs" / "deploy-on-kubernetes.md").read_text(), re.S | re.M)
    return [block for block in blocks if re.match(r"(images|ingress|worker):", block)]


def test_the_values_in_the_document_make_valid_manifests(tmp_path: Path) -> None:
    assert len(values_in_the_document()) == 3
    for block in values_in_the_document():
        file = tmp_path / "mine.yaml"
        file.write_text(block)
        for document in manifests.documents(manifests.rendered("-f", str(file))):
            manifests.validate(document)


@pytest.mark.parametrize("program", ["web", "worker", "housekeeper", "trainer"])
def test_each_program_runs_the_procfiles_command(everything: list[Document], program: str) -> None:
    [container] = manifests.pods(everything)[f"segue-{program}"]["spec"]["containers"]
    assert container["command"] == ["sh", "-c", f"exec {RUN['procfile']()[program]}"]


def test_setup_runs_before_everything_else(everything: list[Document]) -> None:
    [job] = [one for one in everything if one["kind"] == "Job"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == compose()["setup"]["command"]


def test_every_container_is_hardened(everything: list[Document]) -> None:
    found = [*manifests.pods(every_plain_document()).values(), *manifests.pods(everything).values()]
    assert len(found) > 8
    for pod in (one["spec"] for one in found):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod)
        assert all({"emptyDir", "configMap"} & set(volume) for volume in pod["volumes"])
        [container] = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]]


def test_each_pod_gets_only_the_secret_of_its_role(everything: list[Document]) -> None:
    for pod in [*manifests.pods(every_plain_document()).values(), *manifests.pods(everything).values()]:
        [container] = pod["spec"]["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": f"segue-{pod['metadata']['labels'][ROLE]}"}}]
        assert all("value" in one for one in container["env"])


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("roles")
    subprocess.run([sys.executable, "-m", "segue", "roles", str(folder)], cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("role", ["web", "worker", "housekeeper", "trainer", "operator"])
def test_a_secret_from_an_env_file_has_the_values_that_compose_reads(roles: Path, role: str) -> None:
    """`kubectl` takes all after the first `=`, quotes too; Docker Compose removes them."""
    lines = [line.split("=", 1) for line in (roles / f"{role}.env").read_text().splitlines()]
    service: Any = compose(roles=roles)["setup" if role == "operator" else role]
    assert dict(lines).items() <= service["environment"].items()


def test_the_settings_of_the_manifests_exist(everything: list[Document]) -> None:
    for pod in manifests.pods([*every_plain_document(), *everything]).values():
        names = {one["name"].lower() for one in pod["spec"]["containers"][0]["env"]}
        assert names <= set(Settings.model_fields)


def mebibytes(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]


@pytest.mark.parametrize(
    ("files", "gpu"), [((), ()), (("compose.gpu.yml",), ("-f", str(CHART / "values-gpu.yaml")))], ids=["cpu", "gpu"]
)
def test_memory_is_limited_as_in_compose(files: tuple[str, ...], gpu: tuple[str, ...]) -> None:
    pods = manifests.pods(manifests.documents(manifests.rendered("--set", "trainer.enabled=true", *gpu)))
    services: Any = compose(*files)
    assert len(pods) == 5
    for name, pod in pods.items():
        [container] = pod["spec"]["containers"]
        limit = mebibytes(container["resources"]["limits"]["memory"])
        assert limit * 1024**2 == int(services[name.removeprefix("segue-")]["mem_limit"]), name
        assert container["image"] == services[name.removeprefix("segue-")]["image"]


def test_no_image_names_a_registry() -> None:
    for pod in manifests.pods(every_plain_document()).values():
        [container] = pod["spec"]["containers"]
        assert re.fullmatch(r"segue-[a-z-]+", container["image"])


def selects(selector: Document, labels: dict[str, str]) -> bool:
    return bool(selector["matchLabels"].items() <= labels.items())


def test_network_policies_cover_every_pod(everything: list[Document]) -> None:
    found = [*every_plain_document(), *everything]
    policies = [one["spec"] for one in found if one["kind"] == "NetworkPolicy"]
    for name, pod in manifests.pods(found).items():
        labels = pod["metadata"]["labels"]
        chosen = [one for one in policies if selects(one["podSelector"], labels)]
        assert [one for one in chosen if not one.get("egress") and not one.get("ingress")], f"{name}: no default"
        assert [one for one in chosen if one.get("egress")], f"{name}: reaches nothing"


@pytest.mark.parametrize("service", ["web", "worker", "housekeeper", "trainer", "setup"])
def test_each_program_reaches_the_servers_that_it_reaches_in_compose(service: str) -> None:
    ports = {"redis": 6379, "postgres": 5432, "minio": 443}
    networks: Any = compose()[service]["networks"]
    role = "operator" if service == "setup" else service
    policies = {one["metadata"]["name"]: one["spec"] for one in manifests.documents(PLAIN) if "Policy" in one["kind"]}
    policy = policies[f"segue-{role}"]
    reached = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert reached == {53, *(ports[name] for name in networks if name in ports)}
    open_ports = [port["port"] for rule in policy.get("ingress", []) for port in rule["ports"]]
    assert open_ports == [8000] * (role == "web") + [9400] * ("metrics" in networks)


def test_every_program_is_probed(everything: list[Document]) -> None:
    for name, pod in manifests.pods(everything).items():
        [container] = pod["spec"]["containers"]
        if name == SETUP:
            continue
        ports = {port["name"] for port in container["ports"]}
        probes = {probe: container[probe] for probe in PROBES if probe in container}
        assert probes.keys() >= {"startupProbe", "livenessProbe"}
        assert ("readinessProbe" in probes) == (name != "segue-trainer")
        for probe in probes.values():
            action = probe.get("httpGet") or probe.get("tcpSocket")
            assert probe["exec"] if action is None else action["port"] in ports
    web = manifests.pods(everything)["segue-web"]["spec"]["containers"][0]
    assert web["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert web["readinessProbe"]["httpGet"]["path"] == "/readyz"


@pytest.mark.parametrize("role", ["worker", "housekeeper"])
def test_the_probes_ask_what_the_health_check_of_the_container_asks(everything: list[Document], role: str) -> None:
    [container] = manifests.pods(everything)[f"segue-{role}"]["spec"]["containers"]
    check: Any = compose()[role]["healthcheck"]
    command = check["test"][1:]
    assert container["readinessProbe"]["exec"]["command"] == command
    assert container["readinessProbe"]["timeoutSeconds"] == int(check["timeout"].removesuffix("s"))
    if role == "worker":
        assert container["startupProbe"]["exec"]["command"] == command
        # A failed liveness probe restarts the container, which an outage of Redis must not cause.
        assert container["livenessProbe"]["exec"]["command"] == [*command, "--restarts"]


def test_a_worker_has_time_to_finish_its_ticket(everything: list[Document]) -> None:
    pod = manifests.pods(everything)["segue-worker"]["spec"]
    from worker.app import app

    assert pod["terminationGracePeriodSeconds"] > app.conf.task_time_limit


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget"])
def test_services_and_budgets_select_pods_that_exist(everything: list[Document], kind: str) -> None:
    labels = [pod["metadata"]["labels"] for pod in manifests.pods(everything).values()]
    chosen = [one["spec"]["selector"] for one in everything if one["kind"] == kind]
    assert len(chosen) == 2
    for selector in chosen:
        assert any(selects({"matchLabels": selector.get("matchLabels", selector)}, one) for one in labels)
    [metrics] = [one for one in chosen if "segue-metrics" in one] or [{}]
    if kind == "Service":
        assert sum(selects({"matchLabels": metrics}, one) for one in labels) == 4
