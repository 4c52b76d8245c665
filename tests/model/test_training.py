"""The commands `make train`, `make export` and `make evaluate`, on few photos."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("keras", reason="needs the `train` extra")


def run(module: str, *arguments: object) -> str:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_train_export_evaluate(pets: Path, tmp_path: Path) -> None:
    """The layout of the official archive, 64 photos, one epoch per stage.

    A score better than chance proves that the network learns.
    """
    for name in ("images", "trimaps"):
        target = tmp_path / "data" / ("annotations/trimaps" if name == "trimaps" else name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to((pets / name).resolve())
    for split, count in (("trainval", 64), ("test", 20)):
        lines = (pets / "splits" / f"{split}.txt").read_text().splitlines()
        chosen = [line for line in lines if not line.startswith("#")][:: len(lines) // count][:count]
        (tmp_path / "data" / "annotations" / f"{split}.txt").write_text("\n".join(chosen))
    data, weights, version = tmp_path / "data", tmp_path / "unet.weights.h5", tmp_path / "pets" / "7"
    encoder = pets / "encoder" / "mobilenet_v2_1.0_imagenet_notop_from_quant.weights.h5"
    run("model.train", "--data", data, "--encoder", encoder, "--out", weights, "--decoder-epochs", 6, "--epochs", 1)
    run("model.export", "--data", data, "--weights", weights, "--out", version)
    metrics = json.loads(run("model.evaluate", "--data", data, "--version", version, "--write"))
    card = json.loads((version / "card.json").read_text())
    assert (card["name"], card["version"], card["metrics"]) == ("pets", "7", metrics)
    assert metrics["litert"]["test"]["photos"] == 20
    assert metrics["litert"]["test"]["mean_iou"] > 0.2  # an all-background mask scores about 0.19
