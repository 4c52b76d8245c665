"""`segue doctor` detects each kind of damage and repairs it."""

import json
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest
import services
from services import SHIPPED_MODEL
from specs import mask_of, submit

from storage import keys, object_keys
from storage.connection import Storage
from storage.job import Finished, Spec, Status
from storage.objects import MODELS, RESULTS, UPLOADS
from worker import doctor


@pytest.fixture
def healthy(own_store: Storage, monkeypatch: pytest.MonkeyPatch) -> Storage:
    monkeypatch.setattr(doctor, "YOUNG_MS", -10_000)
    own_store.models.publish(SHIPPED_MODEL)
    own_store.jobs.workers.beat("worker", 60_000)
    return own_store


def problems(storage: Storage) -> dict[str, str]:
    return {finding.what: finding.detail for finding in doctor.examine(storage) if not finding.ok}


def stored(storage: Storage, made: Spec, token: str) -> Finished:
    outcome, mask = mask_of({"width": made.width})
    return Finished(made.id, storage.objects.put_result(made, token, outcome, mask), outcome)


def ended(storage: Storage) -> Spec:
    made = submit(storage)
    storage.jobs.claim(token := uuid4().hex, "drainer", "worker")
    storage.jobs.finish(token, "worker", 1, [stored(storage, made, token)])
    return made


def test_a_healthy_installation(healthy: Storage) -> None:
    ended(healthy)
    submit(healthy)
    healthy.tickets.send()
    assert problems(healthy) == {}


def test_what_redis_lost_is_adopted_and_restored(healthy: Storage) -> None:
    done, lost = ended(healthy), submit(healthy)
    healthy.tickets.send()
    healthy.jobs.client.delete(keys.job(done.id), keys.job(lost.id))
    assert set(problems(healthy)) == {"accepted jobs missing from Redis", "records"}
    doctor.repair(healthy)
    assert problems(healthy) == {}
    assert [healthy.jobs.get(one.id).status for one in (done, lost)] == ["succeeded", "queued"]  # type: ignore[union-attr]


def test_a_job_hash_that_is_older_than_its_result(healthy: Storage) -> None:
    made = submit(healthy)
    healthy.jobs.claim("token", "drainer", "worker")
    stored(healthy, made, "token")
    assert set(problems(healthy)) == {"open jobs that have a result"}
    doctor.repair(healthy)
    assert problems(healthy) == {}
    assert healthy.jobs.get(made.id).status is Status.SUCCEEDED  # type: ignore[union-attr]


def test_an_open_job_whose_photo_is_gone(healthy: Storage) -> None:
    made = submit(healthy)
    healthy.tickets.send()
    healthy.objects.remove(UPLOADS, object_keys.upload("local", made.id))
    assert set(problems(healthy)) == {"open jobs without their photo"}
    doctor.repair(healthy)
    assert "open jobs without their photo" not in problems(healthy)
    assert healthy.jobs.get(made.id) is None


def test_an_open_job_missing_from_the_pending_set(healthy: Storage) -> None:
    made = submit(healthy)
    healthy.jobs.client.delete(keys.lane(made.lane))
    assert set(problems(healthy)) == {"open jobs missing from the pending set"}
    doctor.repair(healthy)
    assert problems(healthy) == {}


def test_results_that_nothing_points_at(healthy: Storage) -> None:
    made = ended(healthy)
    loser = stored(healthy, made, "loser")
    assert set(problems(healthy)) == {"result objects that no job refers to"}
    doctor.repair(healthy)
    assert problems(healthy) == {}
    assert healthy.objects.get(RESULTS, loser.result_key) is None


def test_a_deleted_mask_is_reported_and_cannot_be_repaired(healthy: Storage) -> None:
    made = ended(healthy)
    healthy.objects.remove(RESULTS, healthy.objects.results("local", made.id)[0].key)
    doctor.repair(healthy)
    assert set(problems(healthy)) == {"succeeded jobs without their mask"}


def test_a_damaged_model_and_a_redis_that_lost_something(healthy: Storage) -> None:
    healthy.objects.put(MODELS, "pets/3/int8.tflite", b"damaged", "application/octet-stream")
    healthy.jobs.client.delete(keys.EPOCH)
    found = problems(healthy)
    assert set(found) == {"model stable", "redis"}
    assert "int8.tflite is damaged" in found["model stable"]


def test_the_command(own_store: Storage, tmp_path: Path) -> None:
    settings = own_store.settings
    env = services.environment(
        VAR=tmp_path, REDIS_URL=settings.redis_url, S3_URL=settings.s3_url, BUCKET_PREFIX=settings.bucket_prefix,
        S3_SECRET_KEY=settings.s3_secret_key.get_secret_value(),
    )  # fmt: skip
    done = subprocess.run(["segue", "doctor"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "!!  models: no model is published: run `segue setup`" in done.stdout.splitlines()
    assert subprocess.run(["segue", "setup"], env=env, capture_output=True, check=False).returncode == 0
    own_store.jobs.workers.beat("worker", 60_000)
    done = subprocess.run(
        ["segue", "doctor", "--repair", "--json"], env=env, capture_output=True, text=True, check=False
    )
    assert all(finding["ok"] for finding in json.loads(done.stdout)), done.stdout
    assert done.returncode == 0


def test_an_outage_is_a_finding(tmp_path: Path) -> None:
    env = services.environment(
        VAR=tmp_path, REDIS_URL="redis://127.0.0.1:1/0", S3_URL="http://127.0.0.1:1", S3_SECRET_KEY="secret"
    )
    done = subprocess.run(["segue", "doctor"], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("does not answer")) == (1, 2)
