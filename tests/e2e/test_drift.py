"""Photos that no longer look like the training photos, from upload to metric and command."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import services
from operating import ran
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from stack import Stack

from model.data import Example, examples
from storage.connection import Storage, connect
from storage.inputs.report import report

PORTS = 10
ORDINARY, DARK = 30, 40


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Each micro-batch holds one photo, so that every photo is counted."""
    with Stack(tmp_path_factory.mktemp("drift"), METRICS_PORT=services.free_ports(PORTS), MICRO_BATCH=1) as made:
        yield made


def contents(pairs: list[Example], brightness: float) -> list[bytes]:
    found = []
    for pair in pairs:
        with Image.open(pair.photo) as photo:
            buffer = io.BytesIO()
            photo.convert("RGB").point(lambda value: value * brightness).save(buffer, "JPEG", quality=90)
            found.append(buffer.getvalue())
    return found


def shown(stack: Stack, *arguments: str) -> str:
    done = ran(stack.environment(), "drift", "show", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def counted(storage: Storage) -> int:
    found = report(storage)
    assert found
    return found.photos


def metrics(stack: Stack) -> dict[str, float]:
    """The housekeeper's metrics about inputs: name and label → value."""
    first = int(stack.env["METRICS_PORT"])
    found = {}
    for port in range(first, first + PORTS):
        try:
            text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        except httpx.ConnectError:
            continue
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name.startswith("segue_input_"):
                    found[" ".join((sample.name, *sample.labels.values()))] = sample.value
    return found


def test_dark_photos_are_shown_as_a_drift_of_brightness(stack: Stack, pets: Path) -> None:
    """A worker may leave out a photo while it still counts the one before."""
    pairs, storage = examples(pets, "test")[::10], connect(stack.settings())
    stack.all_finished(stack.submit_all(contents(pairs[:ORDINARY], 1.0)))
    services.wait_until(lambda: counted(storage) >= ORDINARY / 2, "the counts of ordinary photos")
    before = json.loads(shown(stack, "--json"))
    assert (before["version"], before["drifting"]) == ("pets/3", [])
    services.wait_until(lambda: metrics(stack).get("segue_input_drift brightness") == 0, "the metric")
    stack.all_finished(stack.submit_all(contents(pairs[ORDINARY : ORDINARY + DARK], 0.4)))
    services.wait_until(lambda: metrics(stack).get("segue_input_drift brightness") == 1, "the metric of the drift")
    lines = shown(stack).splitlines()
    assert next(line.split()[0] for line in lines if line.endswith("drifts")) == "brightness"

    def is_exact() -> bool:
        exported, found = metrics(stack), report(storage)
        assert found
        index = exported["segue_input_psi brightness"] == pytest.approx(found.features[0].psi)
        return bool(exported["segue_input_photos pets/3"] == found.photos and index)

    services.wait_until(is_exact, "the last counts")
    found = report(storage)
    assert found
    assert "share:pet" not in found.drifting
    brightness = found.features[0]
    assert brightness.counts[0] >= DARK / 2
    assert ORDINARY + DARK >= found.photos == sum(brightness.counts) >= (ORDINARY + DARK) / 2
    storage.close()
