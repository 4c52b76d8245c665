"""The simulation of capacity, compared with cases whose answer is known."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from importing import imported
from services import ROOT

SCRIPT = ROOT / "scripts" / "bench" / "simulate.py"


@pytest.fixture(scope="module")
def simulate() -> ModuleType:
    return imported(SCRIPT)


def predict(simulate: ModuleType, plant: dict[str, Any], **costs: float) -> Any:
    cpu_ms = dict.fromkeys(("web", "workers", "s3", "redis", "housekeeper"), 0.0) | costs
    return simulate.Simulation(simulate.Costs(**cpu_ms), simulate.Plant(**plant), clients=200, images=4000).run()


@pytest.mark.parametrize(
    ("plant", "costs", "images_per_s", "saturated"),
    [
        ({"workers": 1}, {"workers": 20.0}, 50, "workers"),
        ({"workers": 4}, {"workers": 20.0}, 200, "workers"),
        ({"workers": 4}, {"workers": 20.0, "web": 10.0}, 100, "web"),
        ({"workers": 4, "webs": 3}, {"workers": 20.0, "web": 10.0}, 200, "workers"),
        ({"workers": 40}, {"workers": 20.0, "redis": 2.0}, 500, "redis"),
        ({"workers": 40, "shards": 2}, {"workers": 20.0, "redis": 2.0}, 1000, "redis"),
    ],
)
def test_the_slowest_kind_of_process_decides(
    simulate: ModuleType, plant: dict[str, Any], costs: dict[str, float], images_per_s: float, saturated: str
) -> None:
    found = predict(simulate, plant, **costs)
    assert found.images_per_s == pytest.approx(images_per_s, rel=0.05)
    assert found.saturated == saturated


def test_processes_of_one_machine_share_its_cores(simulate: ModuleType) -> None:
    found = predict(simulate, {"workers": 4, "webs": 4, "cores": 2}, workers=20.0, web=5.0)
    assert found.images_per_s == pytest.approx(2 / 0.025, rel=0.05)


def test_waiting_follows_from_throughput(simulate: ModuleType) -> None:
    """Little's law: 200 clients at 50 images a second wait 4 s each."""
    assert predict(simulate, {"workers": 1}, workers=20.0).p50_ms == pytest.approx(4000, rel=0.1)


def test_a_million_images_have_a_price(simulate: ModuleType) -> None:
    prices = simulate.Prices(0.07, 0.02, 3, image_mb=0.3, retention_days=15, requests=4)
    parts = prices.per_million(simulate.Costs(web=6, workers=20, s3=6, redis=2, housekeeper=2))
    assert parts == pytest.approx({"cores": 1.0, "storage": 3.0, "requests": 12.0, "total": 16.0})


def test_the_command_compares_a_run_with_its_prediction(tmp_path: Path) -> None:
    cpu_ms = {"web": 8, "workers": 30, "s3": 8, "redis": 1, "housekeeper": 1}
    figures = {f"cpu_ms.{kind}": value for kind, value in cpu_ms.items()}
    figures |= {"images_per_s": 36.0, "job_ms.p50": 1700, "job_ms.p95": 2000}
    row = {"leg": "closed", "name": "640x480, 64 clients, one request", "figures": figures}
    run = tmp_path / "run.json"
    run.write_text(json.dumps({"about": {"cpus": 2, "arguments": ["--workers", "1"]}, "rows": [row]}))
    done = subprocess.run([sys.executable, SCRIPT, run], capture_output=True, text=True, check=True, timeout=60)
    assert "run.json, 1 workers" in done.stdout
    assert "| 640x480, 64 clients, one request | 36.0 | " in done.stdout
    assert "A million images at these prices: cores " in done.stdout
