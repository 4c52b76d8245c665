"""The processes of `make run`: stopped, started again, and run one by one.

tests/faults damages them.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pictures
import pytest
import services
from stack import Stack, children


def photos(count: int) -> list[bytes]:
    return [pictures.jpeg(320, 240, seed) for seed in range(count)]


def test_a_second_run_continues_where_the_first_stopped(tmp_path: Path) -> None:
    """SIGTERM to the group ends all processes in order: none remains, and no job is lost."""
    first = Stack(tmp_path, workers=1)
    assert first.start().startswith("Segue is ready")
    started = first.pids("")
    done = first.finished(first.submit(pictures.jpeg()))
    for pid in first.pids("-Q segment"):  # so that jobs are left for the second run
        for child in children(pid):
            os.kill(child, signal.SIGSTOP)
    left = first.submit_all(photos(5))
    for pid in first.pids("-Q segment"):
        for child in children(pid):
            os.kill(child, signal.SIGKILL)
    assert first.stop() == 0
    assert len(started) == 5
    services.wait_until(lambda: not [pid for pid in started if Path(f"/proc/{pid}").exists()], "the end of all")

    assert first.start().startswith("Segue is ready")
    assert first.http.get(done["links"]["mask"]).status_code == 200
    assert {job["status"] for job in first.all_finished(left, 60)} == {"succeeded"}
    assert first.stop() == 0
    first.http.close()


def test_ports_in_use_are_named(stack: Stack, tmp_path: Path) -> None:
    again = subprocess.run(
        [sys.executable, "scripts/run.py"], env={**stack.env, "VAR": str(tmp_path)}, cwd=services.ROOT,
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert again.returncode == 1
    assert f"PORT={stack.port}" in again.stderr


@pytest.mark.parametrize("line", ["web", "worker", "housekeeper"])
def test_every_procfile_line_runs_on_its_own(stack: Stack, tmp_path: Path, line: str) -> None:
    """Each command runs with only the environment of the stack's object store and Redis."""
    log = tmp_path / "log"
    port = str(services.free_ports(1))
    process = stack.run_line(line, log, VAR=str(tmp_path), PORT=port, MODEL_CACHE=str(tmp_path))
    try:
        sign = {"web": "Booting worker", "worker": "ready.", "housekeeper": "ready."}[line]
        services.wait_until(lambda: sign in log.read_text(), line)
        time.sleep(0.5)
        assert process.poll() is None
    finally:
        process.terminate()
        assert process.wait(services.PATIENCE_S) == 0, log.read_text()


@pytest.mark.parametrize("role", ["worker", "housekeeper"])
def test_the_health_check_of_a_container_needs_no_more_than_its_role(stack: Stack, role: str) -> None:
    command, env = [sys.executable, "-m", "worker.alive", role], stack.environment(role)
    subprocess.run(command, env=env, cwd=services.ROOT, check=True, timeout=60)


def test_no_other_user_of_the_machine_can_read_the_state(stack: Stack) -> None:
    stack.finished(stack.submit(pictures.jpeg()))
    files = [path for path in stack.var.rglob("*") if path.is_file()]
    assert len(files) > 10
    # SeaweedFS sets the mode of its .vif files, which hold no photo data; the folder excludes others.
    own = [path for path in files if path.suffix != ".vif"]
    assert not [path for path in own if path.exists() and path.stat().st_mode & 0o077]
    assert stack.var.stat().st_mode & 0o077 == 0
