"""Calls at the same time, their results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(function: Callable[[T], R], arguments: Iterable[T], width: int) -> Iterator[R]:
    """Results in order, at most `width` calls ahead; the arguments are made in the calling thread, as needed."""
    pool = ThreadPoolExecutor(width)
    try:
        ahead: deque[Future[R]] = deque()
        for argument in arguments:
            if len(ahead) == width:
                yield ahead.popleft().result()
            ahead.append(pool.submit(function, argument))
        while ahead:
            yield ahead.popleft().result()
    finally:  # after a failure or Ctrl-C, what is under way is not waited for
        pool.shutdown(wait=False, cancel_futures=True)
