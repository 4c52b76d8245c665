"""CPU work outside gevent's event loop."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import gevent

P = ParamSpec("P")
T = TypeVar("T")


def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `function` in gevent's thread pool, so that other requests continue.

    Pillow releases the GIL. An exception of `function` is raised here.
    """

    def attempt() -> tuple[T, None] | tuple[None, Exception]:
        """Return the exception, because gevent prints every exception raised in its threads."""
        try:
            return function(*args, **kwargs), None
        except Exception as error:
            return None, error

    result, error = gevent.get_hub().threadpool.apply(attempt)
    if error is not None:
        raise error
    return cast(T, result)
