"""Threads that work for one request: their spans and log lines belong to it."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar, cast

import gevent

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run CPU work in gevent's thread pool, outside its event loop, so that other requests continue.

    Pillow releases the GIL. An exception of `function` is raised here.
    """
    context = copy_context()

    def attempt() -> tuple[T, None] | tuple[None, Exception]:
        """Return the exception, because gevent prints every exception raised in its threads."""
        try:
            return context.run(function, *args, **kwargs), None
        except Exception as error:
            return None, error

    result, error = gevent.get_hub().threadpool.apply(attempt)
    if error is not None:
        raise error
    return cast(T, result)


def each(function: Callable[[T], R], items: Iterable[T], threads: int) -> list[R]:
    """Call `function` with each item, in `threads` threads, and return the results in the items' order."""
    context = copy_context()  # two threads cannot enter one context at once, so each call gets a copy
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda item: context.copy().run(function, item), items))
