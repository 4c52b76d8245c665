"""`segue rollout`, as an operator types it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import services
from operating import ran
from versions import publish

from storage import clock
from storage.connection import Storage
from storage.models import Alias
from storage.rollouts import counts

COUNTED = {"canary.ended": 30, "timed": 4, "shadowed": 20, "differing": 1}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def storage(store: Storage, tmp_path: Path) -> Storage:
    publish(store, tmp_path / "source", "8", "9")
    return store


@pytest.fixture
def segue(storage: Storage, tmp_path: Path) -> Run:
    settings = storage.settings
    env = services.environment(
        VAR=tmp_path, REDIS_URL=settings.redis_url, S3_URL=settings.s3_url, S3_ACCESS_KEY=settings.s3_access_key,
        S3_SECRET_KEY=settings.s3_secret_key.get_secret_value(), SQL_URL=settings.sql_url.get_secret_value(),
        BUCKET_PREFIX=settings.bucket_prefix, PYTHONPATH=services.PYTHONPATH, COLUMNS=200,
        ROLLOUT_POLICY='{"shadow": 0.1}',
    )  # fmt: skip

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return ran(env, "rollout", *arguments, cwd=tmp_path)

    return run


def test_an_operator_follows_a_rollout_to_its_end(segue: Run, storage: Storage) -> None:
    assert "there has been no rollout" in segue("status").stderr
    made = segue("start", "pets/9", "--set", "steps=[0.2, 0.5]", "--set", "step_s=0")
    assert "pets/9 gets 0.2 of the jobs of pets/3" in made.stdout, made.stderr
    rollout = storage.rollouts.current(fresh=True)
    assert rollout
    assert (rollout.policy.steps, rollout.policy.shadow) == ((0.2, 0.5), 0.1)
    counts.add(storage.jobs.client, rollout.id, 0, {**COUNTED, "both.pet": 90, "either.pet": 100, "either.cat": 0})
    storage.rollouts.change(lambda found: counts.with_counts(storage.jobs.client, found))
    status = segue("status").stdout
    assert "20.0 %  30 jobs of the canary, 0 of them failed; 0 jobs of stable" in status
    assert "next step: 50 %" in status
    assert status.splitlines()[-1] == "  IoU of both masks on shadowed photos: pet 0.900"
    assert [line.split()[0] for line in status.splitlines()[3:7]] == ["failures", "verdicts", "speed", "masks"]
    document = json.loads(segue("status", "--json").stdout)
    assert document["decision"]["action"] == "wait"
    for command, state in (("pause", "paused"), ("resume", "running"), ("promote", "promoted")):
        assert f"pets/9 is {state}" in segue(command).stdout
    assert storage.models.aliases(fresh=True)[Alias.STABLE] == "pets/9"
    assert "No rollout is open" in segue("abort").stderr


def test_the_list_names_condemned_versions_and_a_pardon_is_needed(segue: Run, storage: Storage) -> None:
    segue("start", "pets/9")
    storage.rollouts.change(lambda found: found.rolled_back("it was slow", clock.now_ms()))
    assert "condemned: pets/9: it was slow" in segue("list").stdout
    refused = segue("start", "pets/9")
    assert (refused.returncode, "it was slow" in refused.stderr) == (1, True)
    assert segue("start", "pets/9", "--pardon").returncode == 0
    assert len(json.loads(segue("list", "--json").stdout)["rollouts"]) == 2


def test_overwhelming_evidence_is_shown(segue: Run, storage: Storage) -> None:
    segue("start", "pets/9")
    rollout = storage.rollouts.current(fresh=True)
    assert rollout
    counts.add(storage.jobs.client, rollout.id, 0, {"timed": 5000, "shadowed": 50_000, "canary.ended": 50_000})
    storage.rollouts.change(lambda found: counts.with_counts(storage.jobs.client, found))
    shown = segue("status")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("1e+09") == 3


@pytest.mark.parametrize("entry", ["steps", "steps=[", "steps=[2]", "colour=1"])
def test_a_wrong_entry_is_one_line(segue: Run, entry: str) -> None:
    refused = segue("start", "pets/9", "--set", entry)
    assert refused.returncode in (1, 2)
    assert "Traceback" not in refused.stderr
    assert entry.partition("=")[0] in refused.stderr or "--set" in refused.stderr
