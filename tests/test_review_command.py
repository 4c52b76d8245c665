"""`segue review`, as an operator types it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import services
from reviewed import consented, grey, kept_of, served_ids
from services import SHIPPED_MODEL

from storage.connection import Storage
from storage.records.audit import AuditFilter
from storage.records.audit_event import OPERATOR
from worker.housekeeping import recorder

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def segue(own_store: Storage, tmp_path: Path) -> Run:
    settings = own_store.settings
    secrets = {"S3_SECRET_KEY": settings.s3_secret_key, "SQL_URL": settings.sql_url}
    env = services.environment(
        VAR=tmp_path, REDIS_URL=settings.redis_url, S3_URL=settings.s3_url, S3_ACCESS_KEY=settings.s3_access_key,
        BUCKET_PREFIX=settings.bucket_prefix, MODEL_CACHE=tmp_path / "cache",
        **{name: secret.get_secret_value() for name, secret in secrets.items()},
    )  # fmt: skip

    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        command = ["segue", "review", *map(str, arguments)]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    return run


def test_the_life_of_an_inbox(own_store: Storage, segue: Run, tmp_path: Path) -> None:
    own_store.models.publish(SHIPPED_MODEL)
    jobs = [consented(own_store, seed=seed) for seed in range(4)]
    assert segue("score").stdout == "scored 4\n"
    recorder.record(own_store)
    rows = json.loads(segue("list", "--json").stdout)
    assert {row["job_id"] for row in rows} == {job.id for job in jobs}
    assert all(row["scores"]["flip"] is not None for row in rows)
    assert segue("list").stdout.count("verdict=1.00") == 4
    accepted, corrected, rejected, imported = (job.id for job in jobs)
    assert segue("accept", accepted).stdout == f"accepted {accepted} with the mask of the model\n"
    (tmp_path / "mask.png").write_bytes(grey(served_ids(9)))
    by_hand = segue("accept", corrected, "--mask", tmp_path / "mask.png", "--note", "by hand")
    assert by_hand.stdout == f"accepted {corrected} with the mask of the reviewer\n"
    assert segue("reject", rejected, "--note", "blurred").stdout == f"rejected {rejected}\n"
    folder = tmp_path / "out"
    assert segue("export", folder).stdout == f"exported 4 to {folder}\n", "the list is behind: all four"
    (folder / "masks" / "holiday.png").write_bytes(b"")
    done = segue("import", folder / "masks")
    assert (done.returncode, done.stdout) == (1, "accepted 4, left out 1\n")
    assert done.stderr == "holiday.png: its name contains no job id\n"
    recorder.record(own_store)
    assert segue("list").stdout == ""
    shown = json.loads(segue("show", imported).stdout)
    assert (shown["decision"]["state"], shown["decision"]["source"]) == ("accepted", "reviewer")
    assert shown["decision"]["by"].startswith("operator (shell uid ")
    events = [one.event for one in own_store.audit.newest(AuditFilter(None, OPERATOR, None, 0), 50)]
    by_action: dict[str, list[str]] = {}
    for event in events:
        by_action.setdefault(event.action, []).append(event.target)
    assert sorted(by_action["review.accepted"]) == sorted([accepted, corrected, *(job.id for job in jobs)])
    assert by_action["review.rejected"] == [rejected]
    assert sorted(by_action["job.read"]) == sorted(job.id for job in jobs)


def test_what_is_wrong_is_one_line(own_store: Storage, segue: Run, tmp_path: Path) -> None:
    job = consented(own_store)
    for arguments in (("show", "job_x"), ("accept", "job_x"), ("reject", "job_x")):
        done = segue(*arguments)
        assert (done.returncode, done.stderr) == (1, "job_x is not in the review inbox\n")
    (tmp_path / "mask.png").write_bytes(grey(np.ones((3, 4), np.uint8)))
    done = segue("accept", job.id, "--mask", tmp_path / "mask.png")
    assert (done.returncode, done.stderr) == (1, "not accepted: The mask has 4 x 3 pixels, the photo 64 x 48.\n")
    done = segue("import", tmp_path / "nothing", "--format", "coco")
    assert (done.returncode, done.stderr.count("\n"), "Traceback" in done.stderr) == (1, 1, False)
    assert segue("import", tmp_path, "--format", "gif").returncode == 2
    assert segue("list", "--state", "lost").returncode == 2
    assert kept_of(own_store, job.id) == {"consent.json"}
