"""Synthetic pictures of two classes, and a model version trained on them in seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from services import ROOT

LABELS = [
    {"id": 0, "name": "ground", "color": [40, 60, 90]},
    {"id": 1, "name": "shape", "color": [240, 200, 60]},
]
SIZE = 128
RECIPE = """
network = "plain"
size = 64
epochs = 3
batch_size = 7
learning_rate = 5e-3
average = 0.8
evaluate_every = 3
augmentation = { area = [0.6, 1.0], rotation = 0.0 }
"""


def picture(seed: int) -> tuple[Image.Image, Image.Image]:
    """Bright discs and boxes over a dark texture, and the mask: 1 inside a shape, 0 outside."""
    rng = np.random.default_rng(seed)
    mask = Image.new("L", (SIZE, SIZE))
    draw = ImageDraw.Draw(mask)
    for _ in range(rng.integers(1, 4)):
        x, y = rng.integers(10, SIZE - 50, 2)
        w, h = rng.integers(25, 60, 2)
        form = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        form((x, y, x + w, y + h), fill=1)
    ground, shape = texture(rng, 20, 110), texture(rng, 150, 240)
    pixels = np.where(np.asarray(mask)[..., None] == 1, shape, ground)
    return Image.fromarray(pixels.astype(np.uint8)), mask


def texture(rng: np.random.Generator, low: int, high: int) -> NDArray[np.float32]:
    """Return float32[SIZE,SIZE,3]: smooth colours with noise."""
    coarse = Image.fromarray(rng.integers(low, high, (6, 6, 3), np.uint8)).resize(
        (SIZE, SIZE), Image.Resampling.BICUBIC
    )
    return np.clip(np.asarray(coarse, np.float32) + rng.normal(0, 8, (SIZE, SIZE, 1)), 0, 255).astype(np.float32)


def write_data(root: Path, train: int = 40, test: int = 16) -> None:
    """Write a data folder as `make train` reads it: labels.json, images/, masks/, splits/."""
    for name in ("images", "masks", "splits"):
        (root / name).mkdir(parents=True)
    (root / "labels.json").write_text(json.dumps(LABELS))
    names = [f"shape_{number:03}" for number in range(train + test)]
    for seed, name in enumerate(names):
        photo, mask = picture(seed)
        photo.save(root / "images" / f"{name}.jpg", quality=92)
        mask.save(root / "masks" / f"{name}.png")
    (root / "splits" / "train.txt").write_text("\n".join(names[:train]) + "\n")
    (root / "splits" / "test.txt").write_text("\n".join(names[train:]) + "\n")


def make_version(folder: Path) -> Path:
    """Train on synthetic pictures and export version shapes/1, with the files of both engines.

    `folder` must be empty; the pictures stay in its data/. Returns the folder of the version.
    """
    data, run, version = folder / "data", folder / "training", folder / "shapes" / "1"
    write_data(data)
    (folder / "recipe.toml").write_text(RECIPE)
    command("model.train", folder / "recipe.toml", "--data", data, "--out", run)
    command("model.export", "--data", data, "--run", run, "--out", version)
    return version


def command(module: str, *arguments: object) -> str:
    """Run `python -m module ...`. Returns its output. Raises AssertionError if it fails."""
    line = [sys.executable, "-m", module, *map(str, arguments)]
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
