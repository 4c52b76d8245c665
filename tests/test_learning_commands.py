"""`segue runs`, `data`, `train`, `gate` and `candidates`, as an operator types them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import learned
import pytest
import services
from operating import ran

from learning.gate.verdict import GateOutcome
from storage import keys, object_keys
from storage.connection import Storage
from storage.models import Alias
from storage.objects import DATASETS
from storage.records.audit import AuditFilter
from storage.records.audit_event import OPERATOR, Action
from storage.training.runs import LOG, Kind, Progress, RunOutcome, Spec, Status

Run = Callable[..., "subprocess.CompletedProcess[str]"]
UNKNOWN = "run_" + "0" * 32


@pytest.fixture
def environment(store: Storage, tmp_path: Path) -> dict[str, str]:
    settings = store.settings
    return services.environment(
        VAR=tmp_path, REDIS_URL=settings.redis_url, S3_URL=settings.s3_url, S3_ACCESS_KEY=settings.s3_access_key,
        S3_SECRET_KEY=settings.s3_secret_key.get_secret_value(), SQL_URL=settings.sql_url.get_secret_value(),
        BUCKET_PREFIX=settings.bucket_prefix, PYTHONPATH=services.PYTHONPATH, COLUMNS=200,
    )  # fmt: skip


@pytest.fixture
def segue(environment: dict[str, str], tmp_path: Path) -> Run:
    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        return ran(environment, *arguments, cwd=tmp_path)

    return run


def refused(done: "subprocess.CompletedProcess[str]", reason: str) -> None:
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{reason}\n")


def events(store: Storage) -> list[tuple[str, str, str]]:
    found = [one.event for one in store.audit.newest(AuditFilter(None, OPERATOR, None, 0), 50)]
    return sorted((event.action, event.target, event.detail) for event in found)


def test_a_runs_life(store: Storage, segue: Run) -> None:
    assert (segue("runs", "list").stdout, segue("runs", "list", "--json").stdout) == ("", "[]\n")
    done = segue("train", "pets", "--set", "epochs=3", "--set", 'note="a b"')
    run_id, kind, candidate = done.stdout.split()
    assert (done.returncode, kind, candidate) == (0, "train", "pets/4")
    shown = json.loads(segue("runs", "show", run_id).stdout)
    assert (shown["status"], shown["outcome"], shown["elsewhere"]) == ("queued", None, False)
    assert shown["parameters"] == {
        "dataset": "pets/1", "start": "pets/3", "candidate": "pets/4", "recipe": "finetune",
        "changes": {"epochs": 3, "note": "a b"},
    }  # fmt: skip
    assert shown["created_by"].startswith("shell uid ")
    refused(segue("runs", "log", run_id), f"{run_id} has no log yet")
    store.runs.put(run_id, LOG, b"one\ntwo\n")
    assert segue("runs", "log", run_id).stdout == "one\ntwo\n"
    store.runs.report(run_id, Progress(3, 40, "training"))
    assert segue("runs", "list").stdout == f"{run_id}  train  running    pets/4  training 3/40\n"
    assert segue("runs", "cancel", run_id).stdout == f"{run_id} is asked to end\n"
    assert store.runs.is_canceled(run_id)
    store.runs.finish(run_id, RunOutcome(Status.CANCELED, reason="A request canceled the run."))
    refused(segue("runs", "cancel", run_id), f"{run_id} has ended: canceled")
    assert segue("runs", "list").stdout == f"{run_id}  train  canceled   A request canceled the run.\n"
    build = segue("data", "build", "pets").stdout.split()[0]
    assert [run["id"] for run in json.loads(segue("runs", "list", "--json").stdout)] == [build, run_id]
    submitted, canceled = Action.RUN_SUBMITTED, Action.RUN_CANCELED
    assert events(store) == sorted(
        [(canceled, run_id, ""), (submitted, run_id, "train"), (submitted, build, "build")]
    )  # fmt: skip


@pytest.mark.parametrize("command", ["show", "log", "cancel"])
@pytest.mark.parametrize("run", [UNKNOWN, "x", "../models"])
def test_an_unknown_run_is_one_line(segue: Run, command: str, run: str) -> None:
    refused(segue("runs", command, run), f"unknown run: {run}")


def test_a_wait_follows_a_round_and_ends_with_its_failure(store: Storage, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "segue", "data", "build", "pets", "--teach", "--wait"]
    waiting = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    services.wait_until(lambda: bool(store.runs.ids()), "the run")
    [build] = store.runs.ids()
    train = keys.following_run(build, Kind.TRAIN)
    store.runs.submit(Spec(train, Kind.TRAIN, {"dataset": "pets/2", "candidate": "pets/4"}, 1, "me"))
    store.runs.finish(build, RunOutcome(Status.SUCCEEDED, {"dataset": "pets/2", "next": train}))
    store.runs.finish(train, RunOutcome(Status.FAILED, reason="out of luck"))
    lines = waiting.communicate(timeout=60)[0].splitlines()
    assert waiting.returncode == 1
    assert lines[0] == f"{build}  build  pets"
    assert lines[-2:] == ["build  succeeded  dataset pets/2", "train  failed     out of luck"]
    spec = store.runs.spec(build)
    assert spec
    assert [kind for kind, _ in spec.then] == [Kind.TRAIN, Kind.GATE]


def test_data_sets_are_listed_and_shown(store: Storage, segue: Run) -> None:
    held, left = keys.new_job_id(), keys.new_job_id()
    learned.dataset(store, number=2, held=(held,), left_out=(left,))
    first, second = segue("data", "list").stdout.splitlines()
    assert first.split() == ["pets/1", "1", "photos,", "0", "corrections"]
    assert second.split() == ["pets/2", "2", "photos,", "1", "corrections"]
    store.objects.remove(DATASETS, f"{object_keys.dataset_items('pets', 'acme', held)}photo.jpg")
    assert segue("data", "list").stdout.splitlines()[1].endswith("  withdrawn: 1 photos were erased")
    shown = json.loads(segue("data", "show", "pets/2").stdout)
    assert (shown["id"], shown["withdrawn"], shown["erased"]) == ("pets/2", True, [held])
    assert shown["left_out"] == [{"tenant": "acme", "job_id": left, "reason": "it shows a photo of the gate"}]
    assert json.loads(segue("data", "show", "pets").stdout) == shown, "a name stands for the newest version"
    assert [one["id"] for one in json.loads(segue("data", "list", "--json").stdout)] == ["pets/1", "pets/2"]
    reason = "pets/2 is withdrawn: 1 of its photos were erased; build a new version"
    refused(segue("train", "pets"), reason)
    refused(segue("data", "show", "pets/9"), "there is no data set version pets/9: see `segue data list`")
    refused(segue("data", "build", "dogs"), "there is no data set version dogs: see `segue data list`")


def test_an_import_that_fails_is_one_line(segue: Run, tmp_path: Path) -> None:
    for name, folder in (("dogs", tmp_path / "nothing"), ("No!", tmp_path)):
        done = segue("data", "import", name, folder)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert done.stderr.startswith("not imported: ")


def test_a_job_for_another_machine_is_printed(store: Storage, segue: Run) -> None:
    done = segue("train", "pets/1", "--elsewhere", "--recipe", "finetune")
    job = json.loads(done.stdout)
    [run_id] = store.runs.ids()
    assert job == {
        "image": "segue-trainer",
        "command": ["python", "-m", "learning.job", run_id],
        "environment": ["S3_URL", "S3_ACCESS_KEY", "S3_SECRET_KEY", "BUCKET_PREFIX"],
        "dataset": "pets/1",
        "candidate": "pets/4",
    }
    spec = store.runs.spec(run_id)
    assert spec
    assert spec.elsewhere
    assert store.jobs.client.llen(keys.TRAINING_QUEUE) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("train", "pets", "--set", "epochs"), 2, "--set"),
        (("train", "pets", "--set", "epochs=three"), 2, "--set"),
        (("train", "pets", "--set", "day=2030-01-01"), 1, "changes.day"),
        (("train", "pets", "--set", "rate=nan"), 1, "changes.rate"),
        (("train", "pets", "--start", "pets/99"), 1, "start"),
        (("train", "pets/9"), 1, "there is no data set version pets/9"),
        (("gate", "pets/99"), 1, "candidate"),
        (("gate", "pets/3", "--dataset", "dogs"), 1, "there is no data set version dogs"),
    ],
)
def test_a_wrong_run_is_not_submitted(
    store: Storage, segue: Run, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    done = segue(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert code == 2 or done.stderr.count("\n") == 1
    assert store.runs.ids() == {}


def test_a_candidate_is_promoted_only_if_it_passed(store: Storage, segue: Run, tmp_path: Path) -> None:
    assert segue("candidates", "list").stdout == ""
    refused(segue("candidates", "show", "pets/3"), "pets/3 is not a candidate")
    refused(segue("candidates", "promote", "pets/3"), "pets/3 is not a candidate: see `segue candidates list`.")
    version = learned.candidate(store, tmp_path / "made", "4")
    assert segue("candidates", "list").stdout.split() == ["pets/4", "from", "pets/1", "not", "judged"]
    refused(segue("candidates", "show", version), "the gate has not judged pets/4: run `segue gate pets/4`")
    refused(segue("candidates", "promote", version), "The gate has not judged pets/4: run `segue gate pets/4`.")
    learned.judged(store, version, GateOutcome.UNDECIDED)
    shown = segue("candidates", "show", version)
    assert shown.stdout.splitlines() == [
        "pets/4 against pets/3: undecided",
        "40 photos show a difference of 0.02",
        "undecided  better on corrections: it is what it is. It needs about 120 more photos.",
        "skipped    breeds: no photo names its group.",
    ]
    reason = "The gate's verdict on pets/4 is undecided. better on corrections: it is what it is."
    refused(segue("candidates", "promote", version), reason)
    learned.judged(store, version, GateOutcome.PASSED)
    assert segue("candidates", "promote", version).stdout == "stable is pets/4\n"
    assert store.models.aliases(fresh=True) == {Alias.STABLE: version}
    assert segue("candidates", "list").stdout.split()[-2:] == ["passed", "stable"]
    [listed] = json.loads(segue("candidates", "list", "--json").stdout)
    assert (listed["version"], listed["verdict"]["outcome"]) == (version, "passed")
    assert events(store) == [(Action.MODEL_PROMOTED, version, Alias.STABLE)]


def test_an_outage_is_one_line(tmp_path: Path) -> None:
    env = services.environment(
        VAR=tmp_path, S3_URL="http://127.0.0.1:1", S3_SECRET_KEY="secret", PYTHONPATH=services.PYTHONPATH
    )
    for group in ("runs", "data", "candidates"):
        command = [sys.executable, "-m", "segue", group, "list"]
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("not available: object store: MaxRetryError. Check ")
