"""More workers, fewer workers or other services give the same masks."""

import hashlib
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pictures
import pytest
import services
from stack import Stack, command_line


def photos(count: int) -> list[bytes]:
    return [pictures.jpeg(320, 240, seed) for seed in range(count)]


def test_workers_join_and_leave_under_load(stack: Stack) -> None:
    """A third worker starts while 300 jobs are pending, and gets SIGTERM at work.

    It finishes the jobs that it holds.
    """
    third = stack.run_line("worker", stack.var / "third.log")
    try:
        services.wait_until(lambda: stack.queue()["workers"] == 3, "the third worker")
        jobs = stack.submit_all(photos(300))
        time.sleep(0.5)
    finally:
        third.terminate()
        assert third.wait(services.PATIENCE_S) == 0
    ended = stack.all_finished(jobs, 60)
    assert {job["status"] for job in ended} == {"succeeded"}
    assert {job["attempt"] for job in ended} == {1}
    services.wait_until(lambda: stack.queue()["workers"] == 2, "its heartbeat's end")


@pytest.mark.alone
def test_a_thousand_uploads_by_32_threads_fill_the_micro_batches(stack: Stack) -> None:
    contents = photos(40)
    with ThreadPoolExecutor(32) as pool:
        jobs = list(pool.map(lambda i: stack.submit(contents[i % 40]), range(1000)))
    ended = stack.all_finished(jobs, 120)
    assert {job["status"] for job in ended} == {"succeeded"}
    by_claim: dict[tuple[str, int], int] = {}
    for job in ended:
        by_claim[job["started_at"], job["micro_batch"]["size"]] = job["micro_batch"]["size"]
    # The claims made while a full micro-batch was pending: all but the first and last of the burst.
    sizes = [size for (_, size) in sorted(by_claim)][2:-4]
    assert sum(sizes) / len(sizes) >= 0.75 * 16


def test_minios_own_server_code_makes_the_same_masks(stack: Stack, tmp_path: Path) -> None:
    content = pictures.jpeg(300, 200)
    expected = stack.finished(stack.submit(content))["result"]
    minio = services.start_minio(tmp_path, "a-secret-for-tests")
    other = Stack(tmp_path, workers=1, S3_URL=f"http://127.0.0.1:{minio.port}", S3_SECRET_KEY="a-secret-for-tests")
    try:
        assert other.start().startswith("Segue is ready")
        assert not other.pids("weed")
        job = other.finished(other.submit(content))
        assert {**job["result"], "sha256": ""} == {
            **expected,
            "sha256": "",
        }  # the digest depends on the job id and the times
        mask = other.http.get(job["links"]["mask"]).content
        assert hashlib.sha256(mask).hexdigest() == job["result"]["sha256"]
        other.http.close()
        assert other.stop() == 0
    finally:
        minio.stop()


def test_honcho_runs_the_procfile_with_two_workers(tmp_path: Path) -> None:
    first = services.free_ports(8)
    env = services.environment(
        VAR=tmp_path, PORT=first + 5, REDIS_PORT=first + 6, S3_PORT=first, S3_ACCESS_KEY="segue",
        S3_SECRET_KEY="a-secret-for-tests", REDIS_URL=f"redis://127.0.0.1:{first + 6}/0",
        S3_URL=f"http://127.0.0.1:{first}", MODEL_CACHE=tmp_path / "models",
    )  # fmt: skip
    with (tmp_path / "log").open("wb") as log:
        honcho = subprocess.Popen(
            ["honcho", "start", "-c", "worker=2"], env=env, cwd=services.ROOT, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        setup = ["segue", "setup"]
        services.wait_until(
            lambda: not subprocess.run(setup, env=env, capture_output=True, check=False).returncode, "setup"
        )
        client = Stack(tmp_path)
        client.http.base_url = f"http://127.0.0.1:{first + 5}"
        services.wait_until(lambda: client.queue()["workers"] == 2, "two workers")
        assert client.finished(client.submit(pictures.jpeg()))["status"] == "succeeded"
        client.http.close()
    finally:
        os.killpg(honcho.pid, signal.SIGTERM)
        honcho.wait(60)
    assert "celery" not in command_line(honcho.pid)
