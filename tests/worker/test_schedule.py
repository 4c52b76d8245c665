"""The scheduler of the periodic tasks."""

import time
from datetime import timedelta
from pathlib import Path

from celery import Celery

from worker.app import app
from worker.schedule import Scheduler


def test_the_scheduler_sleeps_until_a_task_is_due(tmp_path: Path) -> None:
    """Celery's own one spins for 10 ms before each task."""
    own = Celery("test", broker="memory://")
    own.conf.beat_schedule = {"often": {"task": "often", "schedule": timedelta(seconds=0.1)}}
    scheduler = Scheduler(own, schedule_filename=str(tmp_path / "beat"))
    ticks = 0
    while scheduler.schedule["often"].total_run_count < 5:
        interval, ticks = scheduler.tick(), ticks + 1
        time.sleep(max(0, interval))
    scheduler.close()
    assert ticks <= 5 * 4


def test_the_housekeeper_uses_it() -> None:
    assert app.conf.beat_scheduler == f"{Scheduler.__module__}:{Scheduler.__qualname__}"
