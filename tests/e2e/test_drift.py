"""Photos that no longer look like the training photos, from upload to metric and command."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import services
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from stack import Stack

from model.data import Example, examples

PORTS = 10
ORDINARY, DARK = 30, 30


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
    command = [sys.executable, "-m", "segue", "drift", "show", *arguments]
    return subprocess.run(
        command, env=stack.environment(), cwd=services.ROOT, capture_output=True, text=True, check=True
    ).stdout


def report(stack: Stack, photos: int) -> dict[str, Any]:
    """The report, once all photos are counted: a worker counts after the job has ended."""
    found: dict[str, Any] = {}

    def all_counted() -> bool:
        found.update(json.loads(shown(stack, "--json")))
        return bool(found["photos"] >= photos)

    services.wait_until(all_counted, f"{photos} counted photos")
    return found


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
    pairs = examples(pets, "test")[:: 747 // (ORDINARY + DARK)]
    stack.all_finished(stack.submit_all(contents(pairs[:ORDINARY], 1.0)))
    before = report(stack, ORDINARY)
    assert (before["version"], before["photos"], before["drifting"]) == ("pets/3", ORDINARY, [])
    services.wait_until(lambda: metrics(stack).get("segue_input_drift brightness") == 0, "the metric")
    stack.all_finished(stack.submit_all(contents(pairs[ORDINARY : ORDINARY + DARK], 0.4)))
    after = report(stack, ORDINARY + DARK)
    assert "brightness" in after["drifting"]
    brightness = next(one for one in after["features"] if one["name"] == "brightness")
    assert brightness["now"][0] >= DARK / 2
    assert brightness["typical_now"] < brightness["typical_training"]
    assert "share:pet" not in after["drifting"]
    [row] = [line for line in shown(stack).splitlines() if line.startswith("brightness")]
    assert row.endswith("drifts")
    services.wait_until(lambda: metrics(stack)["segue_input_drift brightness"] == 1, "the metric of the drift")
    found = metrics(stack)
    assert found["segue_input_psi brightness"] == pytest.approx(brightness["psi"], abs=1e-3)
    assert found["segue_input_photos pets/3"] == ORDINARY + DARK
