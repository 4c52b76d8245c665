"""Real servers let each role do its work."""

import io
from pathlib import Path

import pytest
import reviewed
import services
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from specs import spec, submit

from learning.review.scores import score_waiting
from storage import keys, lifecycle
from storage.connection import Storage
from storage.job import Finished, Outcome, Status
from storage.keys import CONTROL_QUEUE, SEGMENT_QUEUE, Lane
from storage.models import Alias
from storage.objects import (
    DATASETS,
    OUTCOME_TEXT,
    RESULTS,
)
from storage.offer import EnginesReport
from storage.problems import Problem
from storage.queue.binding import Binding
from storage.queue.epoch import server_ms
from storage.queue.metrics import QueueMetrics
from storage.queue.tickets import TASKS, celery_app
from storage.recovery import find
from storage.roles.roles import OBJECTS, PROGRAMS, Role
from storage.training import erasure, reviews
from web.access.caller import Caller
from web.access.rate_limits import RateLimits
from worker.housekeeping.janitor import clean
from worker.housekeeping.scrubber import scrub
from worker.housekeeping.sweeps import WIDE, adopt, adopt_after_loss, reconcile, sweep

WEB, WORKER, HOUSEKEEPER, TRAINER, OPERATOR = Role
# Larger than one part of a multipart upload.
LARGE = b"x" * (6 * 1024 * 1024)


def mask(outcome: Outcome) -> bytes:
    """The smallest mask, with the text from which a lost job hash is restored."""
    content, text = io.BytesIO(), PngInfo()
    text.add_text(OUTCOME_TEXT, outcome.to_json())
    Image.new("P", (1, 1)).save(content, "PNG", pnginfo=text)
    return content.getvalue()


def work_off(worker: Storage, token: str = "t") -> list[str]:
    """Process a micro-batch as a worker does. Returns the results of `finish`."""
    jobs = worker.jobs.claim(token, "drainer", "worker")
    photos = [worker.objects.get_upload(job.spec) for job in jobs]
    assert all(photos)
    worker.jobs.extend(token, "drainer", "worker", [job.id for job in jobs])
    put, done = worker.objects.put_result_after_others, Outcome(Status.SUCCEEDED, result={"width": 64})
    stored = [Finished(job.id, *put(job.spec, token, done, mask(done))) for job in jobs]
    return worker.jobs.finish(token, "worker", 10, stored)


def test_each_role_does_its_part_of_a_job(connected: dict[Role, Storage]) -> None:
    web, worker, housekeeper = (connected[role] for role in (WEB, WORKER, HOUSEKEEPER))
    assert adopt_after_loss(housekeeper)
    made = submit(web, key_hash="k", fingerprint="f")
    web.tickets.send(web.jobs.tickets_missing() or 1)
    assert worker.jobs.workers.beat("worker", 10_000) == (1, pytest.approx(server_ms(worker.jobs.client), abs=30_000))
    worker.jobs.workers.report("worker", EnginesReport([], {}), ["pets/9"], ["pets/3"])
    assert web.jobs.outlook(made.id).workers == 1
    assert web.jobs.idempotency.reserve(made)[0] == "done"
    with web.jobs.events() as channel:
        assert work_off(worker) == ["won"]
        assert channel.get_message(timeout=2) or channel.get_message(timeout=2)
    assert worker.jobs.tickets_missing("drainer") == 0
    job = web.jobs.get(made.id)
    assert job
    assert web.objects.outcome(job.result_key)
    assert web.jobs.queue().workers == 1
    assert "worker" in web.jobs.workers.reports()
    assert lifecycle.erase(web.objects, web.jobs, made.tenant, made.id)
    assert web.jobs.ids.tenant_of_erased(made.id) == made.tenant


def test_the_web_cancels_retries_and_restores_jobs(connected: dict[Role, Storage]) -> None:
    web, worker = connected[WEB], connected[WORKER]
    connected[HOUSEKEEPER].jobs.epoch.mark_intact()
    item = spec(batch_id=keys.new_batch_id())
    assert web.jobs.bind(item) is Binding.NEW
    web.jobs.enqueue(item)
    assert web.jobs.bind(item) is Binding.KNOWN
    web.jobs.begin_erase(item.id)
    made = submit(web, key_hash="k", fingerprint="f")
    job = web.jobs.get(made.id)
    assert job
    assert lifecycle.cancel(web.objects, web.jobs, job) == Status.CANCELED
    ended = web.jobs.get(made.id)
    assert ended
    assert lifecycle.retry(web.objects, web.jobs, ended, 60)
    worker.jobs.release("t", [claimed.id for claimed in worker.jobs.claim("t", "drainer", "worker")])
    assert work_off(worker, "u") == ["won"]
    connected[OPERATOR].jobs.client.delete(keys.job(made.id))
    restored = find(web.objects, web.jobs, made.tenant, made.id)
    assert restored
    assert restored.status is Status.SUCCEEDED


def test_the_housekeeper_repairs_and_cleans_up(connected: dict[Role, Storage]) -> None:
    web, worker, housekeeper = (connected[role] for role in (WEB, WORKER, HOUSEKEEPER))
    assert adopt_after_loss(housekeeper)
    lost, late, forgotten = (submit(web) for _ in range(3))
    worker.jobs.claim("t", "drainer", "worker")
    client = connected[OPERATOR].jobs.client
    client.zadd(keys.leases(Lane.INTERACTIVE), {lost.id: 1, late.id: 1})
    client.hset(keys.job(late.id), "cancel", "1")
    client.zrem(keys.leases(Lane.INTERACTIVE), forgotten.id)
    client.delete(f"{keys.PREFIX}drainers")
    sweep(housekeeper)
    reconcile(housekeeper)
    client.delete(keys.job(lost.id))
    assert adopt(housekeeper, WIDE, older_than_s=0) >= 1
    assert client.llen(SEGMENT_QUEUE) >= 1
    client.zadd(keys.RETAINED, {late.id: 1})
    assert clean(housekeeper) == 1
    scrub(housekeeper)


def test_each_role_does_its_part_of_a_review(connected: dict[Role, Storage], tmp_path: Path) -> None:
    web, housekeeper, trainer = (connected[role] for role in (WEB, HOUSEKEEPER, TRAINER))
    housekeeper.jobs.epoch.mark_intact()
    job = reviewed.with_mask(connected[OPERATOR])
    reviewed.consent(web, job)
    assert score_waiting(trainer, tmp_path, 100) >= 1
    reviewed.accepted(web, job)
    reviewed.put_item(trainer, job)
    assert [review.job_id for review in reviews.accepted(trainer.objects)] == [job.id]
    connected[OPERATOR].jobs.client.zadd(keys.RETAINED, {job.id: 1})
    assert clean(housekeeper) == 1
    assert len(reviewed.kept_of(web, job.id)) == 6
    assert lifecycle.erase(web.objects, web.jobs, "local", job.id)
    assert reviewed.kept_of(web, job.id) == set()
    assert erasure.complete(housekeeper.objects, housekeeper.jobs, after_ms=0)


def test_the_web_moves_an_alias_and_the_others_see_it(connected: dict[Role, Storage]) -> None:
    connected[OPERATOR].models.publish(services.SHIPPED_MODEL)
    connected[WEB].models.point(Alias.CANARY, "pets/3")
    for role in Role:
        assert connected[role].models.aliases(fresh=True)["canary"] == "pets/3"
        connected[role].models.verify("pets/3")


@pytest.mark.parametrize("role", [WEB, HOUSEKEEPER])
def test_a_role_that_exports_the_queue_may_read_it(connected: dict[Role, Storage], role: Role) -> None:
    assert adopt_after_loss(connected[HOUSEKEEPER])
    sweep(connected[HOUSEKEEPER])
    submit(connected[WEB])
    assert work_off(connected[WORKER]) == ["won"]
    families = {family.name: family for family in QueueMetrics(connected[role].jobs, 1).collect()}
    ended = {one.labels["status"]: one.value for one in families["segue_jobs_ended"].samples}
    assert ended == {"succeeded": 1, "failed": 0, "canceled": 0, "expired": 0}
    assert families["segue_sweep_age_seconds"].samples[0].value < 60


def test_the_web_may_use_the_rate_limits(connected: dict[Role, Storage]) -> None:
    web, acme = connected[WEB], Caller("acme", frozenset(), "key")
    limits = RateLimits(web.jobs.client, web.settings.replace(limit_key="1/hour"))
    limits.take(acme, "10.0.0.1")
    with pytest.raises(Problem, match="rate_limited"):
        limits.take(acme, "10.0.0.1")


@pytest.mark.parametrize(("role", "queue"), [(WORKER, SEGMENT_QUEUE), (HOUSEKEEPER, CONTROL_QUEUE)])
def test_a_message_whose_holder_died_is_put_back(connected: dict[Role, Storage], role: Role, queue: str) -> None:
    with celery_app(connected[role].settings.redis_url).connection() as broker:
        channel = broker.default_channel
        celery_app(connected[role].settings.redis_url).send_task(TASKS[queue][0], queue=queue)
        message = channel.basic_get(queue)
        channel.visibility_timeout = -1
        channel.qos.restore_visible(interval=1)
        assert channel.basic_get(queue).delivery_tag == message.delivery_tag


@pytest.mark.parametrize("role", PROGRAMS)
def test_a_missing_object_is_not_reported_as_forbidden(connected: dict[Role, Storage], role: Role) -> None:
    for bucket in (place for place in OBJECTS[role] if "/" not in place):
        assert connected[role].objects.exists(bucket)
        assert connected[role].objects.get(bucket, "no/such/key") is None
        assert connected[role].objects.metadata(bucket, "no/such/key", "spec") is None


@pytest.mark.parametrize("role", PROGRAMS)
def test_large_objects_are_stored_in_parts(connected: dict[Role, Storage], role: Role) -> None:
    bucket = DATASETS if role is TRAINER else RESULTS
    connected[role].objects.put(bucket, "large", LARGE, "image/png")
    connected[role].objects.remove(bucket, "large")
    assert connected[role].objects.get(bucket, "large") is None
