"""The fault suite itself: it detects lost jobs, and one scenario uses the default intervals."""

from pathlib import Path

import damage
import pytest
from damage import WORKER
from scene import Begin, Scene
from stack import Stack

NEVER = {"SWEEP_S": 3600, "RECONCILE_S": 3600, "ADOPT_S": 3600}


def test_without_housekeeping_the_suite_detects_lost_jobs(tmp_path: Path) -> None:
    with Stack(tmp_path, LEASE_S=4, **NEVER) as stack:
        with Scene(stack) as killed:
            killed.load()
            worker = killed.at_work()
            with killed.fault():
                assert damage.kill([worker, *damage.family(worker)])
            with pytest.raises(AssertionError, match="did not end"):
                killed.settle(within_s=12, patience_s=0)
        killed.redis.flushall()  # what was left behind
        with Scene(stack) as emptied:
            with emptied.held():
                emptied.submit(280)
                with emptied.fault(memory_lost=True):
                    emptied.redis.flushall()
            with pytest.raises(AssertionError, match="did not end"):
                emptied.settle(within_s=12, patience_s=0)


@pytest.mark.full
def test_a_worker_killed_with_the_default_leases(begin: Begin, tmp_path: Path) -> None:
    with Stack(tmp_path, LEASE_S=30) as stack:
        scene = begin(stack)
        scene.load()
        worker = scene.at_work()
        with scene.fault():
            assert damage.kill([worker, *damage.family(worker)])
        damage.replaced(stack, WORKER, [worker], 2)
        scene.settle()
        assert scene.losses()
