"""The same action over and over, in several threads."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def repeating(action: Callable[[], object], threads: int) -> Iterator[None]:
    """Call `action` in each thread, again and again, until the block ends. Raises what it has raised."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            action()

    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(run) for _ in range(threads)]
        try:
            yield
        finally:
            over.set()
    for one in running:
        one.result()
