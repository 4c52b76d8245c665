"""stdin, stdout, names and Ctrl-C, against a server that sends the responses of the test."""

import hashlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import services
from misbehaving import Answer, server

from segue_client import __version__
from segue_client.folder.journal import NAME
from storage.version import VERSION

PHOTO, MASK = b"\xff\xd8\xff and more", b"\x89PNG and\nmore\0"
COMMAND = [sys.executable, "-m", "segue_client"]


def answers(n: int) -> Answer:
    """Responses in this order: health, a finished job per photo, then the masks."""
    job = {
        "id": f"job_{n}", "status": "succeeded", "links": {"self": "/v1/jobs/job", "mask": "/m", "overlay": "/o"},
        "input": {"filename": "cat.jpg"}, "result": {"sha256": hashlib.sha256(MASK).hexdigest()},
    }  # fmt: skip
    return (200, {}, MASK) if n >= answers.photos + 1 else (200, {}, json.dumps(job).encode())


@pytest.fixture
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    answers.photos = getattr(request, "param", 1)
    with server(answers) as (made, _):
        yield made


def segue(url: str, folder: Path, *arguments: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    env = services.environment(PYTHONPATH=services.PYTHONPATH, SEGUE_URL=url)
    return subprocess.run(
        [*COMMAND, *arguments], env=env, cwd=folder, input=stdin, capture_output=True, check=False, timeout=60
    )


def test_from_stdin_to_stdout(url: str, tmp_path: Path) -> None:
    done = segue(url, tmp_path, "submit", "-", "--out", "-", stdin=PHOTO)
    assert (done.returncode, done.stdout) == (0, MASK)
    assert done.stderr.startswith(b"job_1  succeeded  -")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stdin", [b"", b"no image"])
def test_stdin_that_is_not_an_image(url: str, tmp_path: Path, stdin: bytes) -> None:
    done = segue(url, tmp_path, "submit", "-", "--out", "-", stdin=stdin)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"[not_sent]" in done.stderr


@pytest.mark.parametrize("more", [["b.jpg"], ["--json"]])
def test_stdout_takes_one_mask_and_nothing_else(url: str, tmp_path: Path, more: list[str]) -> None:
    done = segue(url, tmp_path, "submit", "-", "--out", "-", *more, stdin=PHOTO)
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize("url", [2], indirect=True)
def test_two_photos_with_one_name_get_two_masks(url: str, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "cat.jpg").write_bytes(PHOTO)
    done = segue(url, tmp_path, "submit", "a/cat.jpg", "b/cat.jpg", "--out", "masks")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "masks").iterdir()} == {"cat.jpg.png", "cat.jpg-2.png"}


def test_a_custom_suffix_and_a_name_that_is_too_long(url: str, tmp_path: Path) -> None:
    name = "b" * 251 + ".jpg"
    (tmp_path / name).write_bytes(PHOTO)
    done = segue(url, tmp_path, "submit", name, "--out", "masks", "--format", "overlay", "--suffix", "_o.jpeg")
    assert done.returncode == 0, done.stderr
    [mask] = (tmp_path / "masks").iterdir()
    assert mask.name.endswith("_o.jpeg")
    assert len(mask.name) == 255


@pytest.mark.parametrize("suffix", ["/../x", "a\nb", "x" * 65])
def test_an_invalid_suffix_is_refused(url: str, tmp_path: Path, suffix: str) -> None:
    for command in (["submit", "a.jpg"], ["folder", str(tmp_path)]):
        assert segue(url, tmp_path, *command, "--out", "masks", "--suffix", suffix).returncode == 2


def test_the_version(tmp_path: Path) -> None:
    assert segue("", tmp_path, "--version").stdout.decode() == f"segue-client {__version__}\nsegue {VERSION}\n"


@pytest.mark.parametrize("command", ["submit", "status", "wait", "cancel", "retry", "list", "queue", "folder"])
def test_json_is_a_document_even_if_the_service_is_down(tmp_path: Path, command: str) -> None:
    (tmp_path / "a.jpg").write_bytes(PHOTO)
    more = {"submit": ["a.jpg"], "list": [], "queue": [], "folder": [".", "--out", "out"]}.get(command, ["job_1"])
    done = segue("http://127.0.0.1:1", tmp_path, command, *more, "--json")
    parsed = json.loads(done.stdout)
    assert (done.returncode, parsed["ok"], parsed["error"]["code"]) == (1, False, "unreachable")
    assert parsed["object"] == {"queue": "error", "folder": "folder"}.get(command, "list")


BATCH = {"id": "bat_1", "name": "x", "status": "open", "counts": {}, "links": {"jobs": "/jobs", "close": "/close"}}


def test_ctrl_c_ends_a_folder_soon_and_reports_the_progress(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for n in range(3):
        (tmp_path / "in" / f"{n}.jpg").write_bytes(PHOTO)
    sending, over = threading.Event(), threading.Event()

    def answer(n: int) -> Answer:
        """Send no response to the upload."""
        if n >= 2:
            sending.set()
            over.wait(60)
        return 200, {}, json.dumps(BATCH).encode()

    with server(answer) as (url, _):
        env = services.environment(PYTHONPATH=services.PYTHONPATH, SEGUE_URL=url)
        command = [*COMMAND, "folder", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert sending.wait(60)
            started = time.monotonic()
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=60)
            assert time.monotonic() - started < 20  # about 2 s on an idle machine
        over.set()
    assert process.returncode == 130, stderr
    assert "3 unfinished" in stdout
    assert "Stopped: by Ctrl-C" in stdout
    assert "Run the same command again to continue." in stdout
    assert (tmp_path / "out" / NAME).exists()


def test_ctrl_c_ends_a_blocked_run_too() -> None:
    code = (
        "import signal, time; from segue_client.commands.interrupt import end_soon; end_soon();"
        "signal.signal(signal.SIGINT, lambda *_: None); print('ready', flush=True)\n"
        "while True: time.sleep(1)"
    )
    env = services.environment(PYTHONPATH=services.PYTHONPATH)
    with subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (130, "stopped; run the same command again to continue\n")
