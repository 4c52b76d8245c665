"""The commands that use the HTTP API, as real processes against a real server."""

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pictures
import pytest
import services
from PIL import Image
from stack import Stack

from segue_client.client import Client
from storage.connection import Storage
from worker.housekeeping import recorder

Done = subprocess.CompletedProcess[str]
Segue = Callable[..., Done]
UNKNOWN = "job_00000000-0000-7000-8000-000000000000"
BLOCKED = ("flask", "numpy", "redis", "minio", "celery", "kombu", "PIL", "storage", "web", "worker", "model", "cli")
BLOCK = f"import sys; sys.modules.update(dict.fromkeys({BLOCKED}))"
CLIENT_ONLY = f"{BLOCK}; from segue_client.commands.app import main; main()"


def run(url: str, *arguments: object, folder: Path) -> Done:
    """Run the command in an environment that has only the client installed."""
    command = [sys.executable, "-c", CLIENT_ONLY, *map(str, arguments)]
    env = services.environment(SEGUE_URL=url, PYTHONPATH=services.PYTHONPATH, COLUMNS=200)
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False, timeout=90)


@pytest.fixture
def segue(web_without_workers: str, connection: Storage, tmp_path: Path) -> Segue:
    """Runs commands in a folder with only cat.jpg and dog.jpg, against a server without workers."""
    return lambda *arguments: run(web_without_workers, *arguments, folder=photos(tmp_path))


@pytest.fixture
def served(stack: Stack, tmp_path: Path) -> Segue:
    """Like `segue`, against a server with workers."""
    return lambda *arguments: run(str(stack.http.base_url), *arguments, folder=photos(tmp_path))


def photos(folder: Path) -> Path:
    for seed, name in enumerate(("cat.jpg", "dog.jpg")):
        (folder / name).write_bytes(pictures.jpeg(70, 50, seed))
    return folder


def document(done: Done) -> dict[str, Any]:
    assert "Traceback" not in done.stderr
    return dict(json.loads(done.stdout))


def ids(done: Done) -> list[str]:
    return [line.split()[0] for line in done.stdout.splitlines()]


def test_one_bad_photo_does_not_stop_the_others(segue: Segue, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no photo")
    (tmp_path / "empty.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    done = segue("submit", "cat.jpg", "notes.jpg", "missing.jpg", "empty.jpg", "pipe.jpg", "dog.jpg")
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert [line.split()[1:3] for line in lines] == [
        ["queued", "cat.jpg"], ["refused", "notes.jpg:"], ["refused", "missing.jpg:"], ["refused", "empty.jpg:"],
        ["refused", "pipe.jpg:"], ["queued", "dog.jpg"],
    ]  # fmt: skip
    assert lines[2] == "-  refused  missing.jpg: Not sent: No such file or directory [not_sent]"


def test_a_refusal_of_the_service_is_one_line(segue: Segue) -> None:
    done = segue("submit", "cat.jpg", "--model", "cats/99")
    assert done.returncode == 1
    assert done.stdout.startswith("-  refused  cat.jpg: ")
    assert done.stdout.endswith(" [unknown_model]\n")
    wrong = segue("queue", "--key", "seg_wrong")
    assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (1, "", 1)
    assert wrong.stderr.endswith("[unauthorized]\n")


def test_the_json_document_of_a_submission(segue: Segue) -> None:
    tags = ("--tag", "holiday", "--tag", "2026")
    done = segue("submit", "cat.jpg", "missing.jpg", "--priority", "bulk", "--deadline-s", 600, *tags, "--json")
    parsed = document(done)
    assert (done.returncode, parsed["object"], parsed["ok"]) == (1, "list", False)
    sent, missing = parsed["data"]
    assert set(sent) == {"id", "photo", "job", "problem", "mask"}
    assert (sent["photo"], sent["problem"], sent["mask"]) == ("cat.jpg", None, None)
    assert (sent["job"]["id"], sent["job"]["object"], sent["job"]["priority"]) == (sent["id"], "job", "bulk")
    assert sent["job"]["tags"] == ["holiday", "2026"]
    assert (missing["id"], missing["job"], missing["problem"]["code"]) == (None, None, "not_sent")


def test_masks_are_named_after_their_photos_and_nothing_is_overwritten(served: Segue, tmp_path: Path) -> None:
    (tmp_path / "torn.jpg").write_bytes(pictures.truncated_jpeg())
    done = served("submit", "cat.jpg", "torn.jpg", "dog.jpg", "--out", "masks")
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].endswith("succeeded  cat.jpg → masks/cat.jpg.png")
    assert lines[1].endswith("[image_decode_failed]")
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["cat.jpg.png", "dog.jpg.png"]
    with Image.open(tmp_path / "masks" / "cat.jpg.png") as mask:
        assert (mask.mode, mask.size) == ("P", (70, 50))
    (tmp_path / "masks" / "cat.jpg.png").write_bytes(b"mine")
    (tmp_path / "masks" / "dog.jpg.png").unlink()
    again = served("submit", "cat.jpg", "dog.jpg", tmp_path / "dog.jpg", "--out", "masks")
    cat, dog, same_name = again.stdout.splitlines()
    assert again.returncode == 1
    assert cat == "-  refused  cat.jpg: Not sent: masks/cat.jpg.png already exists [not_sent]"
    assert dog.endswith("→ masks/dog.jpg.png")
    assert same_name.endswith("Not sent: given twice [not_sent]")
    assert (tmp_path / "masks" / "cat.jpg.png").read_bytes() == b"mine"


def test_overlays_and_a_submission_that_only_waits(served: Segue, tmp_path: Path) -> None:
    done = served("submit", "cat.jpg", "dog.jpg", "--wait")
    assert (done.returncode, [line.split()[1] for line in done.stdout.splitlines()]) == (0, ["succeeded"] * 2)
    parsed = document(served("wait", *ids(done), "--out", "overlays", "--format", "overlay", "--json"))
    assert parsed["ok"]
    for entry in parsed["data"]:
        with Image.open(tmp_path / entry["mask"]) as overlay:
            assert (overlay.format, overlay.size) == ("JPEG", (70, 50))


def test_status_lists_every_job_and_exits_0_only_if_all_have_masks(segue: Segue, work: Callable[[], None]) -> None:
    cat, dog = ids(segue("submit", "cat.jpg", "dog.jpg"))
    waiting = segue("status", cat, UNKNOWN, dog)
    assert (waiting.returncode, waiting.stderr) == (1, "")
    assert [line.split()[:2] for line in waiting.stdout.splitlines()] == [
        [cat, "queued"], [UNKNOWN, "refused:"], [dog, "queued"],
    ]  # fmt: skip
    assert "[not_found]" in waiting.stdout
    work()
    assert segue("status", cat, dog).returncode == 0
    assert segue("status", "../queue").returncode == 1


def test_a_wait_that_times_out_says_how_to_continue(
    segue: Segue, web_without_workers: str, work: Callable[[], None]
) -> None:
    [cat] = ids(segue("submit", "cat.jpg"))
    late = segue("wait", cat, "--timeout-s", 0.5)
    assert late.returncode == 1
    assert "still queued" in late.stderr
    command = shlex.split(late.stderr.splitlines()[-1].rpartition(": ")[2])
    assert command == ["segue", "wait", "--url", web_without_workers, cat]
    work()
    assert segue(*command[1:]).stdout == f"{cat}  succeeded  cat.jpg\n"


def test_ctrl_c_says_how_to_continue(web_without_workers: str, connection: Storage, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "segue_client", "submit", "cat.jpg", "dog.jpg", "--out", "masks", "--json"]
    env = services.environment(SEGUE_URL=web_without_workers, PYTHONPATH=services.PYTHONPATH)
    with subprocess.Popen(
        command, env=env, cwd=photos(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "0 of 2 done, no live worker\n"
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=90)
    assert process.returncode == 130, stderr
    parsed = json.loads(stdout)
    assert [entry["job"]["status"] for entry in parsed["data"]] == ["queued", "queued"]
    assert stderr.startswith("Stopped: by Ctrl-C [stopped]\n")
    going = shlex.split(stderr.splitlines()[-1].rpartition(": ")[2])
    assert going == [
        "segue", "wait", "--url", web_without_workers, "--out", "masks", "--format", "index",
        *[entry["id"] for entry in parsed["data"]],
    ]  # fmt: skip


def test_a_terminal_shows_a_progress_bar_and_stdout_stays_clean(web_without_workers: str, segue: Segue) -> None:
    [cat] = ids(segue("submit", "cat.jpg"))
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "segue_client", "wait", cat, "--timeout-s", "3", "--json"]
    env = services.environment(SEGUE_URL=web_without_workers, PYTHONPATH=services.PYTHONPATH, TERM="xterm", COLUMNS=200)
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=theirs, text=True) as process:
        os.close(theirs)
        stdout, _ = process.communicate(timeout=90)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(iter(lambda: _read(ours), b"")).decode())
    os.close(ours)
    assert process.returncode == 1
    assert json.loads(stdout)["data"][0]["id"] == cat
    assert "waiting" in shown
    assert "0/1 no live worker" in shown
    assert f"segue wait --url {web_without_workers} {cat}" in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the process has closed its end
        return b""


def test_cancel_and_retry(segue: Segue, work: Callable[[], None]) -> None:
    cat, dog = ids(segue("submit", "cat.jpg", "dog.jpg"))
    done = segue("cancel", cat)
    assert (done.returncode, done.stdout.split()[:2]) == (0, [cat, "canceled"])
    work()
    refused = segue("cancel", cat, dog)
    assert refused.returncode == 1
    assert "[already_terminal]" in refused.stdout.splitlines()[1]
    again = document(segue("retry", cat, "--json"))
    assert (again["ok"], again["data"][0]["job"]["attempt"]) == (True, 2)
    assert segue("retry", dog).returncode == 1


def test_list_pages_through_filtered_jobs(
    segue: Segue, web_without_workers: str, connection: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(web_without_workers) as client:
        batch = client.open_batch("listed")
        sent = [one.job_id for one in batch.append([(f"{i}.jpg", pictures.jpeg(seed=i)) for i in range(5)])]
        client.cancel(str(sent[0]))
        recorder.record(connection)
        monkeypatch.setattr("segue_client.client.LONGEST_PAGE", 2)
        assert {job.id for job in client.jobs(batch_id=batch.id)} == set(sent)
        assert len(list(client.jobs(batch_id=batch.id, limit=3))) == 3
    parsed = document(segue("list", "--batch", batch.id, "--status", "queued", "--json"))
    assert {job["id"] for job in parsed["data"]} == set(sent[1:])
    assert ids(segue("list", "--batch", batch.id, "--status", "canceled")) == [sent[0]]
    assert len(ids(segue("list", "--batch", batch.id, "--limit", 2))) == 2


def test_the_queue_in_words_and_as_json(segue: Segue) -> None:
    segue("submit", "cat.jpg")
    lines = segue("queue").stdout.splitlines()
    assert lines[0].startswith("interactive  1 waiting, the oldest for ")
    assert lines[-1].startswith("0 workers")
    assert document(segue("queue", "--json"))["lanes"]["interactive"]["pending"] == 1


COMMANDS = [("submit", "cat.jpg"), ("status", UNKNOWN), ("wait", UNKNOWN), ("cancel", UNKNOWN), ("retry", UNKNOWN)]


@pytest.mark.parametrize("command", [*COMMANDS, ("list",), ("queue",)])
def test_an_unreachable_service_is_reported_in_one_line(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = run("http://127.0.0.1:1", *command, folder=photos(tmp_path))
    first, *more = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert first == "Unreachable: http://127.0.0.1:1 does not answer: connection refused [unreachable]"
    assert more == (["not sent: 1 of 1 photos"] if command[0] == "submit" else [])


@pytest.mark.parametrize(
    "command",
    [
        ("submit",),
        ("submit", "cat.jpg", "--priority", "urgent"),
        ("submit", "cat.jpg", "--format", "gif"),
        ("submit", "cat.jpg", "--out", "cat.jpg"),
        ("wait",),
        ("list", "--status", "lost"),
        ("list", "--limit", "0"),
        ("queue", "--url", "ftp://127.0.0.1"),
        ("queue", "--key", "schlüssel"),
    ],
)
def test_a_usage_error_exits_with_2(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = run("http://127.0.0.1:1", *command, folder=photos(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_a_file_name_cannot_escape_the_folder(served: Segue, stack: Stack, tmp_path: Path) -> None:
    with Client(str(stack.http.base_url)) as client:
        job = client.wait(client.submit(pictures.jpeg(), name="../../up.jpg"), timeout_s=services.PATIENCE_S)
    [entry] = document(served("wait", job.id, "--out", "masks", "--json"))["data"]
    assert (tmp_path / entry["mask"]).parent == tmp_path / "masks"
