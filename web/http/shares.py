"""A limited total that many owners share fairly."""

import threading
from collections import Counter
from collections.abc import Iterable


class Shares:
    """An owner may hold at most as much as remains free after it takes its share.

    So the limit per owner shrinks as usage grows: one owner gets at most half of the total, two get
    a third each, and so on. A new owner always finds something left.
    """

    def __init__(self, total: int) -> None:
        self.total, self.used = total, 0
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, owners: Iterable[str], amount: int = 1) -> bool:
        """Take `amount` on behalf of all `owners`, or return False and take nothing.

        It counts once against the total, and once against each owner's limit.
        """
        owners = tuple(owners)
        with self._lock:
            free = self.total - self.used - amount
            if free < 0 or any(self._held[owner] + amount > free for owner in owners):
                return False
            self.used += amount
            self._held.update(dict.fromkeys(owners, amount))
            return True

    def give_back(self, owners: Iterable[str], amount: int = 1) -> None:
        with self._lock:
            self.used -= amount
            for owner in owners:
                self._held[owner] -= amount
                if not self._held[owner]:
                    del self._held[owner]
