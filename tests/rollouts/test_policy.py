"""Which candidate the housekeeper rolls out by itself, if ROLLOUT_CANDIDATES is set."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import learned
import pytest

from learning.gate.verdict import GateOutcome
from storage import clock, object_keys
from storage.connection import Storage, connect
from storage.models import ALIASES, Alias, AliasMoved
from storage.objects import MinioObjects
from storage.problems import Problem
from storage.rollouts import counts
from storage.rollouts.policies import policy_of
from storage.rollouts.rollout import Rollout, State
from storage.rollouts.rollouts import REGISTER
from storage.training import verdicts
from worker.housekeeping import replacing
from worker.housekeeping.replacing import replace_gradually

PASSED, FAILED, UNDECIDED = GateOutcome.PASSED, GateOutcome.FAILED, GateOutcome.UNDECIDED
Made = Callable[[str, GateOutcome], str]


@pytest.fixture
def storage(store: Storage) -> Storage:
    """With the switch on, and pets/3 as stable."""
    return connect(store.settings.replace(rollout_candidates=True, rollout_policy={"steps": [0.2, 0.5], "step_s": 0}))


@pytest.fixture
def made(storage: Storage, tmp_path: Path) -> Made:
    """Publishes a candidate, and stores the gate's verdict on it."""

    def make(number: str, outcome: GateOutcome) -> str:
        version = learned.candidate(storage, tmp_path / "source", number)
        learned.judged(storage, version, outcome)
        return version

    return make


def open_rollout(storage: Storage) -> Rollout | None:
    """What is open after the housekeeper has looked twice."""
    for _ in range(2):
        replace_gradually(storage)
    return storage.rollouts.current(fresh=True)


def ended(storage: Storage, change: Callable[[Rollout, int], Rollout]) -> None:
    """End the open rollout."""
    storage.rollouts.change(lambda rollout: change(rollout, clock.now_ms()))


def test_a_candidate_that_passed_is_rolled_out(storage: Storage, made: Made) -> None:
    version = made("4", PASSED)
    rollout = open_rollout(storage)
    assert rollout
    assert (rollout.version, rollout.stable, rollout.by) == (version, "pets/3", "policy")
    assert rollout.policy.steps == (0.2, 0.5)


def test_of_several_the_newest_is_rolled_out(storage: Storage, made: Made) -> None:
    made("10", PASSED)
    time.sleep(1.1)  # some object stores know whole seconds only
    version = made("9", PASSED)
    time.sleep(1.1)
    made("11", FAILED)
    made("12", UNDECIDED)
    rollout = open_rollout(storage)
    assert rollout
    assert rollout.version == version


def test_nothing_starts_while_the_switch_is_off(store: Storage, tmp_path: Path) -> None:
    learned.judged(store, learned.candidate(store, tmp_path, "4"), PASSED)
    assert open_rollout(store) is None


def test_nothing_starts_while_a_rollout_is_open(storage: Storage, made: Made) -> None:
    made("4", PASSED)
    before = open_rollout(storage)
    made("5", PASSED)
    after = open_rollout(storage)
    assert before
    assert after
    assert after.id == before.id


def test_a_paused_rollout_is_open(storage: Storage, made: Made) -> None:
    made("4", PASSED)
    open_rollout(storage)
    storage.rollouts.change(lambda rollout: rollout.paused("we look"))
    made("5", PASSED)
    rollout = open_rollout(storage)
    assert rollout
    assert (rollout.version, rollout.state) == ("pets/4", State.PAUSED)


@pytest.mark.parametrize("outcome", [FAILED, UNDECIDED])
def test_only_the_newest_verdict_counts(storage: Storage, made: Made, outcome: GateOutcome) -> None:
    version = made("4", PASSED)
    learned.judged(storage, version, outcome, held_out="b")
    assert open_rollout(storage) is None


def test_a_verdict_against_another_stable_version_does_not_count(storage: Storage, made: Made, tmp_path: Path) -> None:
    version = made("4", PASSED)
    storage.models.point(Alias.STABLE, learned.candidate(storage, tmp_path, "5"))
    assert open_rollout(storage) is None
    learned.judged(storage, version, PASSED, stable="pets/5", held_out="b")
    rollout = open_rollout(storage)
    assert rollout
    assert (rollout.version, rollout.stable) == (version, "pets/5")


def test_a_version_that_no_run_has_made_is_not_rolled_out(storage: Storage) -> None:
    learned.judged(storage, "pets/9", PASSED)
    assert open_rollout(storage) is None


@pytest.mark.parametrize(
    "end",
    [
        lambda rollout, now_ms: rollout.rolled_back("it failed", now_ms),
        lambda rollout, now_ms: rollout.aborted("a person's decision", now_ms),
    ],
    ids=["rolled back", "aborted"],
)
def test_a_tried_candidate_is_not_tried_again_but_a_newer_one_is(
    storage: Storage, made: Made, end: Callable[[Rollout, int], Rollout]
) -> None:
    made("4", PASSED)
    time.sleep(1.1)
    made("5", PASSED)
    open_rollout(storage)
    ended(storage, end)
    assert open_rollout(storage) is None  # neither pets/5 nor the older pets/4
    time.sleep(1.1)
    made("6", PASSED)
    rollout = open_rollout(storage)
    assert rollout
    assert rollout.version == "pets/6"


def test_an_earlier_rollout_is_remembered(storage: Storage, made: Made, tmp_path: Path) -> None:
    made("4", PASSED)
    open_rollout(storage)
    ended(storage, lambda rollout, now_ms: rollout.aborted("", now_ms))
    other = learned.candidate(storage, tmp_path, "5")
    storage.rollouts.start(other, policy_of(storage.settings), "ops")
    ended(storage, lambda rollout, now_ms: rollout.aborted("", now_ms))
    assert open_rollout(storage) is None


def test_a_promoted_candidate_that_a_person_rolls_back_stays_away(storage: Storage, made: Made) -> None:
    made("4", PASSED)
    open_rollout(storage)
    ended(storage, lambda rollout, now_ms: rollout.promoted("good", now_ms))
    assert storage.models.rollback(Alias.STABLE) == "pets/3"
    assert open_rollout(storage) is None


@pytest.mark.parametrize("back", ["rollback", "promotion"])
def test_a_candidate_that_served_without_a_rollout_stays_away(storage: Storage, made: Made, back: str) -> None:
    """A person has promoted it, and returned to the version before."""
    version = made("4", PASSED)
    storage.models.point(Alias.STABLE, version)
    if back == "rollback":
        storage.models.rollback(Alias.STABLE)
    else:
        storage.models.point(Alias.STABLE, "pets/3")
    assert storage.models.aliases(fresh=True)[Alias.STABLE] == "pets/3"
    assert open_rollout(storage) is None


def test_every_rolled_back_version_is_remembered(storage: Storage, made: Made) -> None:
    for number in ("4", "5"):
        storage.models.point(Alias.STABLE, made(number, FAILED))
    storage.models.rollback(Alias.STABLE)
    storage.models.point(Alias.STABLE, made("6", FAILED))
    for _ in range(2):
        storage.models.rollback(Alias.STABLE)
    assert [storage.models.has_been_stable(f"pets/{number}") for number in (3, 4, 5, 6, 7)] == [*[True] * 4, False]
    assert len(storage.models.history()[Alias.STABLE]) == 1


def test_a_canary_that_the_evidence_is_against_is_condemned_and_not_started_again(storage: Storage, made: Made) -> None:
    version = made("4", PASSED)
    rollout = open_rollout(storage)
    assert rollout
    counts.add(storage.jobs.client, rollout.id, 0, {"canary.ended": 40, "canary.failed": 40, "stable.ended": 160})
    assert open_rollout(storage) is None
    assert storage.models.aliases(fresh=True)[Alias.STABLE] == "pets/3"
    assert "40 of 40 jobs of the canary failed" in storage.rollouts.register().condemned[version].reason
    [only] = storage.rollouts.newest_first()
    assert (only.id, only.state) == (rollout.id, State.ROLLED_BACK)


def test_a_wrong_policy_is_logged_at_each_look(storage: Storage, made: Made, caplog: pytest.LogCaptureFixture) -> None:
    made("4", PASSED)
    wrong = connect(storage.settings.replace(rollout_policy={"steps": [0.5, 0.2]}))
    with caplog.at_level(logging.WARNING, replacing.__name__):
        assert open_rollout(wrong) is None
    reasons = [vars(record)["reason"] for record in caplog.records if record.message == "rollout_unchanged"]
    assert reasons == ["policy.steps: each share must be greater than the one before"] * 2
    assert open_rollout(storage)


def test_a_stable_version_that_moves_meanwhile_is_not_replaced(storage: Storage, made: Made) -> None:
    version = made("4", PASSED)
    with pytest.raises(AliasMoved):
        storage.rollouts.start(version, policy_of(storage.settings), "policy", instead_of="pets/2")
    assert storage.rollouts.current(fresh=True) is None


def test_a_look_reads_each_verdict_once(storage: Storage, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """The housekeeper looks every few seconds, and verdicts pile up."""
    for number in range(10, 20):
        made(str(number), FAILED)
    read = Counter[str]()
    get = MinioObjects.get

    def counting(self: MinioObjects, bucket: str, key: str) -> bytes | None:
        read[key] += 1
        return get(self, bucket, key)

    monkeypatch.setattr(MinioObjects, "get", counting)
    assert open_rollout(storage) is None
    assert read.pop(REGISTER) == 3  # the two looks and this test
    assert read.pop(ALIASES) == 2
    assert read == {object_keys.verdict(f"pets/{number}", f"a.{verdicts.PUBLIC}"): 1 for number in range(10, 20)}


def test_a_condemned_candidate_is_started_by_a_person_only(storage: Storage, made: Made) -> None:
    version = made("4", PASSED)
    open_rollout(storage)
    ended(storage, lambda rollout, now_ms: rollout.rolled_back("it failed", now_ms))
    with pytest.raises(Problem, match="version_condemned"):
        storage.rollouts.start(version, policy_of(storage.settings), "ops")
    storage.rollouts.start(version, policy_of(storage.settings), "ops", pardon=True)
    ended(storage, lambda rollout, now_ms: rollout.aborted("", now_ms))
    assert open_rollout(storage) is None  # pardoned, but tried
