"""Whether the body of a request may be read now."""

from collections.abc import Callable

from storage.problems import Problem
from storage.settings import Settings
from web.http.shares import Shares

RETRY_S = 2


class Gate:
    """Bounds the bodies in flight of this process, by number and by bytes. Address and tenant have a
    fair share each.
    """

    def __init__(self, settings: Settings) -> None:
        self.bodies, self.bytes = Shares(settings.max_bodies), Shares(settings.max_bodies_bytes)

    def enter(self, owners: tuple[str, ...], size: int) -> Callable[[], None]:
        """→ what to call once the body is no longer held. Raises Problem `too_many_at_once`."""
        if not self.bodies.take(owners):
            raise Problem("too_many_at_once", "Too many uploads at once: send fewer in parallel.", RETRY_S)
        if not self.bytes.take(owners, size):
            self.bodies.give_back(owners)
            detail = f"Uploads in progress leave no room for {size} more bytes: send fewer in parallel."
            raise Problem("too_many_at_once", detail, RETRY_S)

        def leave() -> None:
            self.bodies.give_back(owners)
            self.bytes.give_back(owners, size)

        return leave
