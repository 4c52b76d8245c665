"""Services that several tests share: one that dies is started again, so that one test fails and not all that follow."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar


class Shared(Protocol):
    """What a fixture may share: a single service or a whole stack."""

    def is_alive(self) -> bool: ...

    def start_again(self) -> None: ...


S = TypeVar("S", bound=Shared)
_kept: list[tuple[Shared, Callable[[], object]]] = []


@contextmanager
def kept(service: S, ready: Callable[[], object] = lambda: None) -> Iterator[S]:
    """Watch over a service as long as a fixture shares it. `ready` returns once a fresh start can be used."""
    _kept.append((service, ready))
    try:
        yield service
    finally:
        _kept.remove((service, ready))


def revive() -> list[str]:
    """Start again what has died. → its names"""
    dead = [(service, ready) for service, ready in _kept if not service.is_alive()]
    for service, ready in dead:
        service.start_again()
        ready()
    return [str(service) for service, _ in dead]
