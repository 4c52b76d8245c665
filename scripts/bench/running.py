"""A running stack for a benchmark."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

import load
from photos import photos
from stack import Stack

WARM_UP = 32


@contextmanager
def running(workers: int, **settings: object) -> Iterator[Stack]:
    """Start the processes of `make run`, and warm up their engines and connections."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder), workers, LEASE_S=30, **settings)
        print(stack.start().strip(), flush=True)
        try:
            load.Load(stack.port, photos(640, 480), 8, WARM_UP).closed_loop(load.two_requests)
            yield stack
        finally:
            stack.http.close()
            stack.stop()
