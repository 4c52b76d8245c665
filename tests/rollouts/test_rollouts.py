"""The rollout in the object store: one at a time, each change whole, promotions and rollbacks."""

from pathlib import Path

import pytest
from versions import publish

from storage import clock
from storage.connection import Storage
from storage.models import Alias, AliasMoved
from storage.offer import EnginesReport
from storage.problems import Problem, Unavailable
from storage.rollouts.policies import policy_of
from storage.rollouts.rollout import Policy, State
from storage.rollouts.rollouts import REGISTER, Rollouts
from worker.housekeeping import replacing

POLICY = Policy(steps=(0.1, 0.5), step_s=0)


@pytest.fixture
def storage(own_store: Storage, tmp_path: Path) -> Storage:
    """pets/7 (stable), pets/8 and pets/9."""
    publish(own_store, tmp_path / "source", "7", "8", "9")
    return own_store


def stable(storage: Storage) -> str:
    return storage.models.aliases(fresh=True)[Alias.STABLE]


def test_steps_lead_to_the_promotion(storage: Storage) -> None:
    storage.rollouts.start("pets/8", POLICY, "ops")
    shares = []
    while rollout := storage.rollouts.current(fresh=True):
        shares.append(rollout.step.share)
        assert stable(storage) == "pets/7"
        storage.rollouts.change(lambda found: found.advanced("good", clock.now_ms()))
    assert (shares, stable(storage)) == ([0.1, 0.5], "pets/8")
    [ended] = storage.rollouts.newest_first()
    assert (ended.state, ended.reason) == (State.PROMOTED, "good")


def test_only_one_rollout_is_open(storage: Storage) -> None:
    storage.rollouts.start("pets/8", POLICY, "ops")
    with pytest.raises(Problem, match="rollout_open"):
        storage.rollouts.start("pets/9", POLICY, "ops")
    storage.rollouts.change(lambda found: found.aborted("enough", clock.now_ms()))
    with pytest.raises(Problem, match="no_rollout"):
        storage.rollouts.change(lambda found: found.paused("again"))
    storage.rollouts.start("pets/9", POLICY, "ops")
    versions = [(one.version, one.state) for one in storage.rollouts.newest_first()]
    assert versions == [("pets/9", State.RUNNING), ("pets/8", State.ABORTED)]


@pytest.mark.parametrize(("version", "code"), [("pets/7", "invalid_request"), ("pets/99", "unknown_model")])
def test_only_another_known_version_replaces_stable(storage: Storage, version: str, code: str) -> None:
    with pytest.raises(Problem, match=code):
        storage.rollouts.start(version, POLICY, "ops")


def test_a_rolled_back_version_is_condemned_until_a_person_pardons_it(storage: Storage) -> None:
    storage.rollouts.start("pets/8", POLICY, "ops")
    storage.rollouts.change(lambda found: found.rolled_back("it failed", clock.now_ms()))
    assert stable(storage) == "pets/7"
    with pytest.raises(Problem, match=r"version_condemned.*it failed"):
        storage.rollouts.start("pets/8", POLICY, "ops")
    storage.rollouts.start("pets/8", POLICY, "ops", pardon=True)
    assert storage.rollouts.register().condemned == {}


def test_a_pause_takes_the_share_away_and_a_resumption_is_another_step(storage: Storage) -> None:
    storage.rollouts.start("pets/8", POLICY, "ops")
    storage.rollouts.change(lambda found: found.paused("we look"))
    storage.rollouts.change(lambda found: found.resumed(clock.now_ms()))
    rollout = storage.rollouts.current(fresh=True)
    assert rollout
    assert [step.share for step in rollout.steps] == [0.1, 0.1]
    assert rollout.next_share == 0.5


def test_a_kill_between_the_writes_of_a_promotion_leaves_one_that_the_housekeeper_completes(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.rollouts.start("pets/8", Policy(steps=(0.5,), step_s=0), "ops")

    def killed(*_: object) -> None:
        raise Unavailable("killed")

    with monkeypatch.context() as broken:
        broken.setattr(Rollouts, "_store", killed)
        with pytest.raises(Unavailable):
            storage.rollouts.change(lambda found: found.advanced("good", clock.now_ms()))
    assert stable(storage) == "pets/8"
    assert storage.rollouts.current(fresh=True)
    replacing.replace_gradually(storage)
    [ended] = storage.rollouts.newest_first()
    assert ended.state is State.PROMOTED


def test_a_person_who_moves_stable_ends_the_rollout(storage: Storage) -> None:
    storage.rollouts.start("pets/8", POLICY, "ops")
    storage.models.point(Alias.STABLE, "pets/9")
    with pytest.raises(AliasMoved):
        storage.rollouts.change(lambda found: found.promoted("late", clock.now_ms()))
    replacing.replace_gradually(storage)
    [ended] = storage.rollouts.newest_first()
    assert (ended.state, ended.reason, stable(storage)) == (State.ABORTED, "stable was moved to pets/9.", "pets/9")


def test_a_version_that_no_worker_can_load_is_rolled_back(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.rollouts.start("pets/8", POLICY, "ops")
    for name in ("a", "b"):
        storage.jobs.workers.beat(name, 60_000)
        storage.jobs.workers.report(name, EnginesReport(["pets/7"], {}), [], [])
    storage.jobs.workers.report("a", EnginesReport(["pets/7"], {"pets/8": "it is damaged"}), [], [])
    storage.jobs.workers.report("b", EnginesReport(["pets/7", "pets/8"], {}), [], [])
    replacing.replace_gradually(storage)
    assert storage.rollouts.current(fresh=True)  # one worker can
    storage.jobs.workers.report("b", EnginesReport(["pets/7"], {}), [], [])
    replacing.replace_gradually(storage)
    assert storage.rollouts.current(fresh=True)  # it may still be loading it
    monkeypatch.setattr(replacing, "LOADING_MS", 0)
    replacing.replace_gradually(storage)
    [ended] = storage.rollouts.newest_first()
    assert (ended.state, ended.reason) == (State.ROLLED_BACK, "No worker can load it: it is damaged")


def test_another_process_that_changes_it_is_not_disturbed(storage: Storage) -> None:
    storage.rollouts.start("pets/8", POLICY, "ops")
    before = storage.objects.get("models", REGISTER)
    with storage.jobs.locks.alone("rollout", 10):
        replacing.replace_gradually(storage)
        with pytest.raises(Problem, match="unavailable"):
            storage.rollouts.change(lambda found: found.paused(""))
    assert storage.objects.get("models", REGISTER) == before


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"steps": [0.5, 0.1]}, "policy.steps: each share must be greater"),
        ({"steps": []}, "policy.steps"),
        ({"steps": [0.5, 1.0]}, "policy.steps.1"),
        ({"harm": 0}, "policy.harm"),
        ({"slower": 0.5}, "policy.slower"),
        ({"colour": "blue"}, "policy: unknown entry colour"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_by_name(
    own_store: Storage, wanted: dict[str, object], reason: str
) -> None:
    with pytest.raises(Problem) as refused:
        policy_of(own_store.settings, wanted)
    assert refused.value.detail.startswith(reason)


def test_a_persons_wishes_replace_single_fields_of_the_setting(own_store: Storage) -> None:
    settings = own_store.settings.replace(rollout_policy={"shadow": 0.5, "harm": 0.2})
    policy = policy_of(settings, {"harm": 0.3, "steps": [0.2]})
    assert (policy.shadow, policy.harm, policy.steps, policy.slower) == (0.5, 0.3, (0.2,), 1.25)
