"""Parallel calls with ordered results."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(function: Callable[[T], R], arguments: Iterable[T], width: int) -> Iterator[R]:
    """Yield the results in the order of `arguments`, with at most `width` calls running ahead.

    The calling thread iterates over `arguments`, as calls become possible.
    """
    pool = ThreadPoolExecutor(width)
    try:
        ahead: deque[Future[R]] = deque()
        for argument in arguments:
            if len(ahead) == width:
                yield ahead.popleft().result()
            ahead.append(pool.submit(function, argument))
        while ahead:
            yield ahead.popleft().result()
    finally:  # after a failure or Ctrl-C, do not wait for running calls
        pool.shutdown(wait=False, cancel_futures=True)
