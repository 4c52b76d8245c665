"""Leg `folder`: the folder script, from its start to its exit."""

import subprocess
import sys
import time
from collections.abc import Sequence

from accounting import Meter, families
from figures import Row
from services import ROOT
from stack import Stack


def folder(stack: Stack, name: str, photos: Sequence[bytes], images: int) -> Row:
    source = stack.var / "photos"
    for number in range(images):
        path = source / f"{number % 10}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photos[number % len(photos)])
    command = [sys.executable, "scripts/submit_folder.py", str(source), "--out", str(stack.var / "masks")]
    meter, started = Meter(families(stack)), time.perf_counter()
    subprocess.run([*command, "--url", str(stack.http.base_url), "--json"], cwd=ROOT, check=True, capture_output=True)
    rate = images / (time.perf_counter() - started)
    return Row("folder", f"{name}, {images} photos", {"images_per_s": rate, **meter.figures(images)})
