"""The unattended circle: after people have corrected photos, the model replaces itself by a better one.

Figures are printed: `make test-circle`.
"""

import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import Any

import pictures
import pytest
import shapes
import teaching
from services import wait_until
from stack import Stack
from teaching import cast, segue

# Three in ten are held out, and the gate wants twenty of those.
CORRECTIONS, OTHERS = range(1000, 1090), range(2000, 2016)
CAST = 4  # one photo in so many is under the cast
THREADS, PAUSE_S = 3, 0.1
NEWEST = 40  # jobs, to which both workers have contributed
ROUND_S, ROLLOUT_S = 600, 300
# Stable fails on the photos under the cast, so a canary that has learned them differs on one photo in four. A limit of
# half leaves room for this, and none for a canary that fails on the others. The networks are alike, and other processes
# disturb the micro-batches of a few milliseconds, hence the lenient limit of time.
POLICY = {"steps": [0.2, 0.5], "step_s": 2, "harm": 0.2, "shadow": 0.3, "differing": 0.5, "slower": 2.0}

Document = dict[str, Any]

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not teaching.trains(), reason="needs the `train` extra"),
]


@pytest.fixture
def stack(tmp_path: Path, shapes_version: Path) -> Iterator[Stack]:
    """A stack that serves shapes/1, with every switch of the circle on."""
    with Stack(
        tmp_path / "var", workers=2, TRAINERS=1, LEARN_S=2, TF_CPP_MIN_LOG_LEVEL=3, LEARN_DATASET="shapes",
        LEARN_AFTER=len(CORRECTIONS), LEARN_RECIPE=json.dumps(teaching.CHANGES), ROLLOUT_CANDIDATES=1, ROLLOUT_S=1,
        ROLLOUT_POLICY=json.dumps(POLICY),
    ) as stack:  # fmt: skip
        segue(stack, "models", "publish", shapes_version, "--promote")
        segue(stack, "data", "import", "shapes", teaching.data_folder(tmp_path / "data"))
        wait_until(lambda: teaching.serves(stack, "shapes/1"), "the first version")
        yield stack


def test_corrections_alone_lead_to_a_better_stable_version(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    before = teaching.mean_iou(stack, OTHERS)
    assert before < 0.4
    teaching.accept(stack, teaching.corrected(stack, [cast(seed) for seed in CORRECTIONS]))
    accepted = time.time()
    with Traffic(stack) as traffic:  # from here on, people only send photos
        wait_until(lambda: len(finished_runs(stack)) == 3, "the end of the round", ROUND_S)
        wait_until(lambda: any(one["ended_at"] for one in rollouts(stack)), "the end of the rollout", ROLLOUT_S)
        wait_until(lambda: traffic.newest() == {"shapes/2"}, "the candidate on all workers")
    assert stable(stack) == "shapes/2"
    after = teaching.mean_iou(stack, OTHERS, "shapes/2")
    runs, [rollout] = finished_runs(stack), rollouts(stack)
    with capsys.disabled():
        print()
        for line in (*stages(accepted, runs, rollout), *evidence(rollout)):
            print(line)
        print(f"{len(traffic.jobs)} jobs meanwhile: {dict(traffic.outcomes())}")
        print(f"mean IoU of {len(OTHERS)} other photos under the cast: {before:.3f} before, {after:.3f} after")
    assert [(run["kind"], run["status"], run["created_by"]) for run in runs] == [
        (kind, "succeeded", "policy") for kind in ("build", "train", "gate")
    ]
    assert (rollout["version"], rollout["state"], rollout["started_by"]) == ("shapes/2", "promoted", "policy")
    assert [step["share"] for step in rollout["steps"]] == POLICY["steps"]
    assert set(traffic.outcomes()) == {"succeeded by shapes/1", "succeeded by shapes/2"}
    assert after > 0.8


class Traffic:
    """People who send photos, one in `CAST` of them under the cast, as bulk jobs until the end of the block."""

    def __init__(self, stack: Stack) -> None:
        self.jobs: list[Document] = []
        self._stack, self._ended = stack, Event()
        self._pool = ThreadPoolExecutor(THREADS)

    def __enter__(self) -> "Traffic":
        self._senders = [self._pool.submit(self._send, 10_000 * (number + 1)) for number in range(THREADS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._pool.shutdown()
        for sender in self._senders:
            sender.result()

    def _send(self, first: int) -> None:
        for seed in itertools.count(first):
            if self._ended.wait(PAUSE_S):
                return
            job = self._stack.submit(photo(seed), priority="bulk")
            self.jobs.append(self._stack.finished(job))

    def outcomes(self) -> Counter[str]:
        return Counter(f"{job['status']} by {teaching.served_by(job)}" for job in self.jobs)

    def newest(self) -> set[str]:
        """The versions that made the masks of the last jobs."""
        return {teaching.served_by(job) for job in self.jobs[-NEWEST:]}


def photo(seed: int) -> bytes:
    return cast(seed)[0] if seed % CAST == 0 else pictures.encoded(shapes.picture(seed)[0], quality=92)


def finished_runs(stack: Stack) -> list[Document]:
    """The runs that have ended, in their order."""
    runs = stack.http.get("/v1/training/runs").json()["data"]
    return sorted((run for run in runs if run["finished_at"]), key=lambda run: str(run["finished_at"]))


def rollouts(stack: Stack) -> list[Document]:
    return list(stack.http.get("/v1/rollouts").json()["data"])


def stable(stack: Stack) -> str:
    return str(stack.http.get("/v1/models").json()["aliases"]["stable"][0]["version"])


def stages(accepted: float, runs: list[Document], rollout: Document) -> Iterator[str]:
    """Seconds of each stage, from the last decision of a person to the promotion."""
    marks = [
        ("round started", runs[0]["created_at"]),
        *((run["kind"], run["finished_at"]) for run in runs),
        ("rollout started", rollout["started_at"]),
        *((f"{step['share']:.0%} left", after) for step, after in steps_left(rollout)),
    ]
    last = accepted
    for name, moment in marks:
        at = datetime.fromisoformat(moment).timestamp()
        yield f"{name:16} {at - last:6.1f} s"
        last = at
    yield f"{'the whole circle':16} {last - accepted:6.1f} s"


def steps_left(rollout: Document) -> Iterator[tuple[Document, str]]:
    """Each step, and when the next one began."""
    ends = [step["started_at"] for step in rollout["steps"][1:]] + [rollout["ended_at"]]
    return zip(rollout["steps"], ends, strict=True)


def evidence(rollout: Document) -> Iterator[str]:
    for step in rollout["steps"]:
        counts = Counter(step["counts"])
        yield f"{step['share']:.0%}: {counts['canary.ended']} jobs of the canary, {counts['stable.ended']} of stable"
    for check in rollout["checks"]:
        yield f"{check['name']:9} {check['against']} of {check['of']}, allowed {check['allowed']:.0%}"
    yield f"rollout {rollout['state']}: {rollout['reason']}"
