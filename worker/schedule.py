"""When the housekeeper's periodic tasks are sent."""

from celery.beat import PersistentScheduler


class Scheduler(PersistentScheduler):  # type: ignore[misc]
    """Celery's scheduler, without the 10 ms by which it wakes too early.

    During these it calls itself again and again, until the task is due.
    """

    def adjust(self, n: float | None, drift: float = 0.0) -> float | None:
        return n + drift if n and n > 0 else n
