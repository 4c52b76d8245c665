"""Restart the services that tests share, so that a dead one fails one test and not all the rest."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar


class Shared(Protocol):
    """What a fixture may share: a single service or a whole stack of processes."""

    def is_alive(self) -> bool: ...

    def start_again(self) -> None: ...


S = TypeVar("S", bound=Shared)
_watched: list[tuple[Shared, Callable[[], object]]] = []


@contextmanager
def watch(service: S, ready: Callable[[], object] = lambda: None) -> Iterator[S]:
    """Let `revive` restart a service while the block runs.

    `ready` is called after a restart and returns once the service can be used.
    """
    _watched.append((service, ready))
    try:
        yield service
    finally:
        _watched.remove((service, ready))


def watched() -> list[Shared]:
    return [service for service, _ in _watched]


def revive() -> list[str]:
    """Restart all watched services that have died. Returns their names."""
    dead = [(service, ready) for service, ready in _watched if not service.is_alive()]
    for service, ready in dead:
        service.start_again()
        ready()
    return [str(service) for service, _ in dead]
