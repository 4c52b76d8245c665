"""The scheduler of the periodic tasks."""

import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import services
from celery import Celery
from damage import gone, kill

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


LATE = """
import os, signal, time
from billiard import Process
from worker.app import _end_with_the_parent

def scheduler(parent):
    while os.getppid() == parent:
        time.sleep(0.01)
    _end_with_the_parent()
    time.sleep(600)

child = Process(target=scheduler, args=(os.getpid(),))
child.start()
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_scheduler_ends_although_the_housekeeper_died_before_it_had_begun() -> None:
    with subprocess.Popen([sys.executable, "-c", LATE], cwd=services.ROOT, stdout=subprocess.PIPE) as housekeeper:
        assert housekeeper.stdout
        child = int(housekeeper.stdout.readline())
        try:
            services.wait_until(lambda: gone(child), "the end of the scheduler", 20)
        finally:
            kill([child])
