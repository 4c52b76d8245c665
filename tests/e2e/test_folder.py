"""A nested folder of all available test photos; a worker and the command are killed on the way."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import services
from PIL import Image
from services import ROOT, SHIPPED_MODEL
from stack import Stack, children

from model.data import Example, examples
from model.evaluation.photos import judge
from model.evaluation.scores import Scores
from model.segmenter import Segmenter

JOURNAL = ".segue-journal.jsonl"


def nested(pairs: list[Example], folder: Path) -> None:
    """Copy the photos into one folder per breed."""
    for pair in pairs:
        breed = folder / pair.name.rpartition("_")[0]
        breed.mkdir(parents=True, exist_ok=True)
        (breed / pair.photo.name).write_bytes(pair.photo.read_bytes())


def journal(out: Path) -> list[dict[str, object]]:
    path = out / JOURNAL
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def lines(out: Path, kind: str) -> list[str]:
    return [str(line[kind]) for line in journal(out) if kind in line]


def test_747_photos_survive_a_killed_worker_and_a_killed_script(stack: Stack, pets: Path, tmp_path: Path) -> None:
    pairs, source, out = examples(pets, "test"), tmp_path / "in", tmp_path / "out"
    nested(pairs, source)
    script = [sys.executable, "scripts/submit_folder.py", str(source)]
    command = [*script, "--out", str(out), "--url", str(stack.http.base_url)]
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    services.wait_until(lambda: len(lines(out, "uploaded")) > 250, "a third of the uploads")
    worker = stack.pids("-Q segment")[0]
    for pid in (*children(worker), worker):
        os.kill(pid, signal.SIGKILL)
    services.wait_until(lambda: len(lines(out, "done")) > 50, "the first masks")
    assert first.poll() is None
    first.kill()
    first.wait()

    second = subprocess.run([*command, "--json"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=180)
    assert second.returncode == 0, second.stderr[-2000:]
    assert json.loads(second.stdout)["succeeded"] == len(pairs) == 747
    assert max(Counter(lines(out, "uploaded")).values()) == 1
    masks = [out / pair.name.rpartition("_")[0] / f"{pair.photo.name}.png" for pair in pairs]
    assert all(mask.exists() for mask in masks)
    assert len(list(out.rglob("*.png"))) == 747

    truths = [np.asarray(pair.open()[1]) for pair in pairs]
    through_http = Scores.of(((t, np.asarray(Image.open(m))) for t, m in zip(truths, masks, strict=True)), classes=3)
    offline = judge(Segmenter(SHIPPED_MODEL), pairs, own_size=True).scores
    assert abs(through_http.mean_iou - offline.mean_iou) < 0.005

    third = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=60)
    assert third.returncode == 0
    assert len(lines(out, "batch")) == 1
