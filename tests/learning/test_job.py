"""`python -m learning.job RUN` on a machine that has the code and the object store's address."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import learned
import pytest
import services

from storage import keys, object_keys
from storage.connection import Storage
from storage.objects import DATASETS
from storage.training import submitting
from storage.training.runs import Kind, RunOutcome, Spec, Status

Job = Callable[[str], "subprocess.CompletedProcess[str]"]
# Nothing here is needed to refuse a run.
HEAVY = ("tensorflow", "keras", "sqlalchemy")


@pytest.fixture
def job(own_store: Storage, tmp_path: Path) -> Job:
    """Runs the command in an empty folder. Redis and SQL are nowhere."""
    settings, stubs, folder = own_store.settings, tmp_path / "stubs", tmp_path / "empty"
    stubs.mkdir()
    folder.mkdir()
    for name in HEAVY:
        (stubs / f"{name}.py").write_text(f"raise SystemExit('imports {name}')\n")
    env = services.environment(
        S3_URL=settings.s3_url, S3_ACCESS_KEY=settings.s3_access_key, BUCKET_PREFIX=settings.bucket_prefix,
        S3_SECRET_KEY=settings.s3_secret_key.get_secret_value(),
        REDIS_URL="redis://127.0.0.1:1/0", SQL_URL="postgresql+psycopg://nobody@127.0.0.1:1/nothing",
        PYTHONPATH=f"{stubs}:{services.PYTHONPATH}",
    )  # fmt: skip

    def run(run_id: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "learning.job", run_id]
        return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False)

    return run


def submitted(store: Storage, elsewhere: bool = True) -> Spec:
    return submitting.submit(store, Kind.TRAIN, {"dataset": "pets"}, "me", elsewhere=elsewhere)


@pytest.mark.parametrize("run_id", ["run_" + "0" * 32, "x", "../models"])
def test_an_unknown_run_is_refused(store: Storage, job: Job, run_id: str) -> None:
    done = job(run_id)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{run_id} is not a training that was submitted with --elsewhere\n"


@pytest.mark.parametrize("kind", [Kind.TRAIN, Kind.SCORE])
def test_a_run_for_trainers_or_of_another_kind_is_refused(store: Storage, job: Job, kind: Kind) -> None:
    if kind is Kind.TRAIN:
        spec = submitted(store, elsewhere=False)
    else:
        spec = submitting.submit(store, kind, {}, "me", elsewhere=True)
    done = job(spec.id)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert store.runs.outcome(spec.id) is None


def test_a_withdrawn_data_set_ends_the_run_at_once(store: Storage, job: Job) -> None:
    held = keys.new_job_id()
    learned.dataset(store, number=2, held=(held,))
    spec = submitted(store)
    store.objects.remove(DATASETS, f"{object_keys.dataset_items('pets', 'acme', held)}photo.png")
    reason = "pets/2 is withdrawn: 1 of its photos were erased; build a new version"
    for _ in range(2):
        done = job(spec.id)
        assert (done.returncode, done.stdout) == (1, f"{spec.id} failed: {reason}\n")
    outcome = store.runs.outcome(spec.id)
    assert outcome
    assert (outcome.status, outcome.reason) == (Status.FAILED, reason)


def test_a_canceled_run_is_not_started(store: Storage, job: Job) -> None:
    spec = submitted(store)
    store.runs.cancel(spec.id)
    done = job(spec.id)
    assert (done.returncode, done.stdout) == (1, f"{spec.id} canceled: A request canceled the run.\n")


def test_a_run_that_has_succeeded_is_not_repeated(store: Storage, job: Job, tmp_path: Path) -> None:
    spec = submitted(store)
    store.runs.finish(spec.id, RunOutcome(Status.SUCCEEDED, {"candidate": "pets/4", "dataset": "pets/1"}))
    left = tmp_path / "empty" / "var" / "training" / spec.id  # by a process that was killed after the outcome
    left.mkdir(parents=True)
    (left / "photo.jpg").write_bytes(b"")
    done = job(spec.id)
    assert (done.returncode, done.stdout) == (0, f"{spec.id} succeeded: pets/4\n")
    assert not left.exists()


def test_an_outage_is_one_line_and_can_be_tried_again(tmp_path: Path) -> None:
    env = services.environment(S3_URL="http://127.0.0.1:1", S3_SECRET_KEY="secret", PYTHONPATH=services.PYTHONPATH)
    command = [sys.executable, "-m", "learning.job", "run_" + "0" * 32]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr.startswith("not available: object store: ")
    assert done.stderr.count("\n") == 1
