"""The gate: admits or refuses the body of a request before it is read."""

from collections.abc import Callable

from storage.problems import Problem
from storage.settings import Settings
from web.http.shares import Shares

RETRY_S = 2


class Gate:
    """Limits this process's bodies in flight, by number and by bytes, with fair shares per owner."""

    def __init__(self, settings: Settings) -> None:
        self.bodies, self.bytes = Shares(settings.max_bodies), Shares(settings.max_bodies_bytes)

    def enter(self, owners: tuple[str, ...], size: int) -> Callable[[], None]:
        """Admit a body of `size` bytes that counts against all `owners` (addresses, tenant).

        Return the function to call once the body is no longer held. Raises Problem
        `too_many_at_once`.
        """
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
