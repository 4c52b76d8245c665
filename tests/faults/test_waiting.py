"""More jobs than the workers can process, and no workers at all."""

from pathlib import Path

import damage
import pytest
import services
from damage import WORKER, kill, pool_children
from scene import Scene


@pytest.mark.full
def test_a_burst_of_five_thousand(scene: Scene) -> None:
    scene.submit(5000)
    with scene.fault():
        pass  # the burst is the fault, and it is over
    scene.settle(within_s=240)


@pytest.mark.full
def test_no_worker_alive(scene: Scene, tmp_path: Path) -> None:
    """All jobs are accepted and wait; later one worker processes them all."""
    with damage.unsupervised(scene.stack):
        kill([*scene.stack.pids(WORKER), *pool_children(scene.stack)])
        services.wait_until(lambda: scene.stack.queue()["workers"] == 0, "the end of the heartbeats")
        waiting = scene.submit(100)
        job = scene.stack.http.get(f"/v1/jobs/{waiting[0]}").json()
        assert job["queue"]["waiting_reason"] == "no_live_worker"
        with scene.fault(fewest=100):
            worker = scene.stack.run_line("worker", tmp_path / "log")
            services.wait_until(lambda: scene.stack.queue()["workers"] == 1, "a worker")
        try:
            scene.settle()
        finally:
            worker.terminate()
            assert worker.wait(services.PATIENCE_S) == 0
