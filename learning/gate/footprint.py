"""The peak memory of a process that runs a version on its CPU engine. Needs Linux.

python -m learning.gate.footprint FOLDER    # prints megabytes
"""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from model.segmenter import Segmenter

IMAGES = 8


def peak_mb(folder: Path) -> float:
    """Measured in a process of its own, which has loaded nothing else. Raises CalledProcessError if it fails."""
    command = [sys.executable, "-m", "learning.gate.footprint", str(folder.resolve())]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    segmenter = Segmenter(Path(sys.argv[1]))
    side = segmenter.card.input_size
    segmenter.engine.logits(np.zeros((IMAGES, side, side, 3), np.uint8))
    # Not ru_maxrss: a process inherits the peak of the one that started it.
    [kilobytes] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(int(kilobytes) / 1000)


if __name__ == "__main__":
    main()
