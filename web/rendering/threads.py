"""CPU work beside gevent's loop."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import gevent

P = ParamSpec("P")
T = TypeVar("T")


def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run CPU work in gevent's threads (Pillow releases the GIL), so that other requests go on."""

    def tried() -> tuple[T, None] | tuple[None, Exception]:
        """gevent would print what is raised in its threads, even if it is only a refusal."""
        try:
            return function(*args, **kwargs), None
        except Exception as error:
            return None, error

    result, error = gevent.get_hub().threadpool.apply(tried)
    if error is not None:
        raise error
    return cast(T, result)
