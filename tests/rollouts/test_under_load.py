"""Rollouts on running stacks under load, with two workers: good candidates, bad ones, and kills in the middle.

Figures are printed: `make test-rollouts`.
"""

import runpy
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import damage
import offline
import pictures
import pytest
import services
from damage import HOUSEKEEPER, WORKER, family, kill, replaced
from PIL import Image
from scene import QUICK
from stack import Stack
from steady_load import Load, longest_gap_s
from teaching import segue
from versions import version_folder

from storage import clock
from storage.job import Job, Status
from storage.problems import Unavailable
from storage.rollouts.rollout import Arm, Rollout, State

SABOTEUR = services.ROOT / "tests" / "rollouts" / "saboteur"
STABLE, CANARY = "pets/3", "pets/9"
POLICY = ("steps=[0.05,0.25,0.5]", "step_s=2", "harm=0.05", "shadow=0.1", "differing=0.1")
# The versions are equal, but other processes disturb their micro-batches of milliseconds: hence the lenient `slower`.
SHORT = ("steps=[0.2,0.5]", "step_s=1", "harm=0.1", "shadow=0.3", "differing=0.1", "slower=2")
LIMIT_S, LOOK_S, BEFORE_S = 240, 0.5, 5
STANDSTILL_S = 30  # a slow machine makes longer pauses; a worker that has stopped makes longer ones than this
LETHAL_EVERY = 50

Print = Callable[[str], None]


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Print:
    def printed(text: str) -> None:
        with capsys.disabled():
            print(text)

    return printed


@contextmanager
def stack_of(folder: Path, **settings: object) -> Iterator[Stack]:
    """A stack that has published the candidate."""
    with Stack(folder / "stack", **QUICK, ROLLOUT_S=1, **settings) as stack:
        segue(stack, "models", "publish", version_folder(folder / "source", CANARY.partition("/")[2]))
        yield stack


class Course:
    """What is seen of a rollout from outside, look by look: it may only go forward."""

    def __init__(self, load: Load, policy: Sequence[str] = POLICY) -> None:
        self._load, self.seen = load, list[Rollout]()
        segue(load.stack, "rollout", "start", CANARY, *(part for entry in policy for part in ("--set", entry)))

    def look(self) -> Rollout:
        time.sleep(LOOK_S)
        try:
            found = self._load.storage.rollouts.register(fresh=True).current
        except Unavailable:
            return self.seen[-1]
        assert found
        if self.seen:
            _only_forward(self.seen[-1], found)
        self.seen.append(found)
        return found

    def until(self, met: Callable[[Rollout], bool], what: str) -> Rollout:
        give_up = time.monotonic() + LIMIT_S
        while not met(found := self.look()):
            assert time.monotonic() < give_up, f"{what}: not within {LIMIT_S} s\n{status(self._load.stack)}"
        return found

    def end(self) -> Rollout:
        return self.until(lambda rollout: rollout.state.final, "the end of the rollout")


def _only_forward(before: Rollout, after: Rollout) -> None:
    assert (after.id, after.version, after.stable) == (before.id, before.version, before.stable)
    assert not before.state.final or after.state is before.state
    assert [step.share for step in after.steps][: len(before.steps)] == [step.share for step in before.steps]
    for earlier, later in zip(before.steps, after.steps, strict=False):
        fewer = {name for name, count in earlier.counts.items() if later.count(name) < count}
        assert not fewer, f"counted less than before: {fewer}"


def status(stack: Stack) -> str:
    return segue(stack, "rollout", "status")


def served(jobs: list[Job]) -> Counter[str]:
    """How many succeeded jobs each version has served."""
    models = [job.outcome.model for job in jobs if job.outcome and job.outcome.model]
    return Counter(f"{model['name']}/{model['version']}" for model in models)


def summary(rollout: Rollout, jobs: list[Job]) -> str:
    ends = Counter(str(job.status) for job in jobs)
    shares = ", ".join(f"{step.share:.3g}" for step in rollout.steps)
    return (
        f"\n{rollout.state} after {(rollout.ended_ms - rollout.started_ms) / 1000:.1f} s and steps {shares}; "
        f"{len(jobs)} jobs: {dict(ends)}, {dict(served(jobs))}"
    )


def kill_housekeeper(load: Load) -> None:
    [parent] = load.stack.pids(HOUSEKEEPER)
    assert kill([parent, *family(parent)])
    replaced(load.stack, HOUSEKEEPER, [parent], 1)


def kill_worker(load: Load) -> None:
    worker = load.stack.pids(WORKER)[0]
    assert kill([worker, *family(worker)])
    replaced(load.stack, WORKER, [worker], 2)


def kill_redis(load: Load) -> None:
    assert kill([damage.redis_server(load.stack)])
    services.wait_until(lambda: damage.answers(load.storage.jobs.client), "Redis after its end")


def empty_redis(load: Load) -> None:
    load.storage.jobs.client.flushall()


def check_served(jobs: list[Job]) -> None:
    """Every job succeeded, with one of the two versions."""
    odd = {job.id: job.outcome and job.outcome.error for job in jobs if job.status is not Status.SUCCEEDED}
    assert not odd
    assert set(served(jobs)) == {STABLE, CANARY}
    assert served(jobs).total() == len(jobs)


def test_a_good_candidate_reaches_all_jobs_although_the_housekeeper_is_killed(tmp_path: Path, show: Print) -> None:
    with stack_of(tmp_path) as stack, Load(stack, [photo.content for photo in offline.photos()]) as load:
        services.wait_until(lambda: len(load.sent) > 200, "a stream of jobs")
        began_ms = clock.now_ms()
        time.sleep(BEFORE_S)
        course = Course(load, SHORT)
        course.until(lambda rollout: len(rollout.steps) == 2, "the second step")
        kill_housekeeper(load)
        ended = course.end()
        load.stop()
        jobs = load.ended(LIMIT_S)
        show(summary(ended, jobs) + "\n" + status(stack))
        before = longest_gap_s(jobs, began_ms, ended.started_ms)
        during = longest_gap_s(jobs, ended.started_ms, ended.ended_ms)
        show(f"the longest gap between two ends of jobs on a worker: {before:.2f} s before, {during:.2f} s during")
        assert ended.state is State.PROMOTED
        check_served(jobs)
        assert load.storage.models.aliases(fresh=True)["stable"] == CANARY
        assert during < STANDSTILL_S


@pytest.mark.full
@pytest.mark.parametrize("fault", [kill_housekeeper, kill_worker, kill_redis, empty_redis])
def test_a_kill_in_the_middle_of_each_step(fault: Callable[[Load], None], tmp_path: Path, show: Print) -> None:
    with stack_of(tmp_path) as stack, Load(stack, [photo.content for photo in offline.photos()]) as load:
        course = Course(load)
        for number in (1, 2, 3):
            course.until(lambda rollout: len(rollout.steps) == number and bool(rollout.step.counts), f"step {number}")  # noqa: B023
            fault(load)
        ended = course.end()
        load.stop()
        jobs = load.ended(LIMIT_S)
        show(f"\n{fault.__name__}" + summary(ended, jobs) + "\n" + status(stack))
        assert (ended.state, len(ended.steps)) == (State.PROMOTED, 3)
        check_served(jobs)


@pytest.mark.full
@pytest.mark.parametrize("way", ["classes", "slow", "crash"])
def test_a_bad_candidate_is_rolled_back(way: str, tmp_path: Path, show: Print) -> None:
    """The gate has not judged it."""
    photos = [photo.content for photo in offline.photos()]
    if way == "crash":
        colour = runpy.run_path(str(SABOTEUR / "lethal.py"))["LETHAL"]
        plain = Image.new("RGB", (offline.WIDTH, offline.HEIGHT), colour)
        photos = [*(photos * 3)[: LETHAL_EVERY - 1], pictures.encoded(plain, "PNG")]
    with (
        stack_of(tmp_path, PYTHONPATH=services.customized(SABOTEUR), SABOTAGE=way) as stack,
        Load(stack, photos) as load,
    ):
        services.wait_until(lambda: len(load.sent) > 200, "a stream of jobs")
        ended = Course(load).end()
        load.stop()
        jobs = load.ended(LIMIT_S)
        of_canary = [job for job in jobs if job.arm.endswith(f":{Arm.CANARY}")]
        show(f"\n{way}: the canary ended {len(of_canary)} jobs" + summary(ended, jobs) + "\n" + status(stack))
        assert ended.state is State.ROLLED_BACK
        failed = {job.id: job.outcome.error["code"] for job in jobs if job.outcome and job.outcome.error}
        assert {load.sent[job_id] for job_id in failed} <= ({LETHAL_EVERY - 1} if way == "crash" else set())
        assert set(failed.values()) <= {"poisoned"}
        assert load.storage.models.aliases(fresh=True)["stable"] == STABLE
