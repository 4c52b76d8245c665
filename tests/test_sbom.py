"""scripts/sbom.py: each image's SBOM is valid, and lists what its lock file installs on Linux.

tests/compose compares them with what is installed in the images.
"""

import json
import subprocess
import sys
from typing import Any

import pytest
from composed import compose
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from importing import imported
from services import ROOT

SBOM = imported(ROOT / "scripts" / "sbom.py")
LOCK = """\
both==1.0 \\
    --hash=sha256:aa
old==1.0 ; python_full_version < '3.12' \\
    --hash=sha256:bb
new==2.0 ; python_full_version >= '3.12' \\
    --hash=sha256:cc
windows==1.0 ; sys_platform == 'win32' \\
    --hash=sha256:dd
"""


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What `make sbom` writes: image → document."""
    folder = tmp_path_factory.mktemp("sbom")
    subprocess.run([sys.executable, "scripts/sbom.py", str(folder)], cwd=ROOT, check=True, capture_output=True)
    assert {file.name for file in folder.iterdir()} == {f"{image}.cdx.json" for image in SBOM.IMAGES}
    return {file.name.partition(".")[0]: json.loads(file.read_text()) for file in folder.iterdir()}


def faults(document: dict[str, Any]) -> object:
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))


def test_every_image_that_is_built_has_one() -> None:
    services = [*compose().values(), compose("compose.gpu.yml")["worker"]]
    assert {service["image"] for service in services if "build" in service} == set(SBOM.IMAGES)


@pytest.mark.parametrize("image", SBOM.IMAGES)
def test_it_is_valid(documents: dict[str, dict[str, Any]], image: str) -> None:
    document = documents[image]
    assert faults(document) is None
    described = document["metadata"]["component"]
    assert (described["name"], described["version"]) == (image, SBOM.VERSION)


def test_an_invalid_one_is_detected(documents: dict[str, dict[str, Any]]) -> None:
    document = documents["segue-web"]
    components = [{**document["components"][0], "type": "thing"}, *document["components"][1:]]
    assert "thing" in str(faults({**document, "components": components}))


@pytest.mark.parametrize("image", SBOM.IMAGES)
def test_it_lists_each_package_once_with_its_hashes(documents: dict[str, dict[str, Any]], image: str) -> None:
    components = documents[image]["components"]
    names = [one["name"] for one in components]
    assert len(names) > 60
    assert len(set(names)) == len(names)
    for one in components:
        assert one["purl"] == f"pkg:pypi/{one['name']}@{one['version']}"
        assert one["externalReferences"][0]["hashes"], one["name"]


def test_the_trainers_lock_contains_the_workers(documents: dict[str, dict[str, Any]]) -> None:
    """The image of the trainer is built on that of the worker."""
    worker, trainer = (
        {(one["name"], one["version"]) for one in documents[image]["components"]}
        for image in ("segue-worker", "segue-trainer")
    )
    assert worker < trainer


def test_entries_for_other_systems_are_left_out() -> None:
    assert [entry.split()[0] for entry in SBOM.installed(LOCK, "3.11.9")] == ["both==1.0", "old==1.0"]
    assert [entry.split()[0] for entry in SBOM.installed(LOCK, "3.12.0")] == ["both==1.0", "new==2.0"]
    assert SBOM.latest_python() == "3.11.99"
