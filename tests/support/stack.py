"""The processes of `make run`, started by the tests."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import redis
import services
from numpy.typing import NDArray
from PIL import Image

from storage.settings import Settings

REFUSED = re.compile("NOPERM|NoPermission|ExecAbort|NOAUTH|AccessDenied")


class Stack:
    """scripts/run.py in its own process group, and an HTTP client for it."""

    def __init__(self, var: Path, workers: int = 2, **settings: object) -> None:
        self.var = var
        first = services.free_ports(8)
        self.port, self.redis_port = first + 5, first + 6
        self.env = services.environment(
            VAR=var, PORT=self.port, REDIS_PORT=self.redis_port, S3_PORT=first, WORKERS=workers,
            **{"LEASE_S": 6, **settings},
        )  # fmt: skip
        self.process: subprocess.Popen[str] | None = None
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=70)

    def start(self) -> str:
        """Start the script. Returns the line that reports it is ready."""
        self.process = subprocess.Popen(
            [sys.executable, "scripts/run.py"], env=self.env, cwd=services.ROOT, stdout=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def __enter__(self) -> "Stack":
        line = self.start()
        assert line.startswith("Segue is ready"), (self.var / "log" / "supervisord.log").read_text()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        refusals = self.refusals()
        assert self.stop() == 0
        assert not refusals, "a right is missing: " + "\n".join(refusals[:20])

    def __str__(self) -> str:
        return f"the stack on port {self.port}"

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start_again(self) -> None:
        """Start again on the same ports and with the same data, like a second `make run`."""
        for pid in self._left_behind():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.__enter__()

    def _left_behind(self) -> Iterator[int]:
        """The pids of this stack's processes that have outlived their supervisor."""
        mark = f"VAR={self.var}\0".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (folder / "environ").read_bytes():
                    yield int(folder.name)

    def environment(self, role: str = "operator") -> dict[str, str]:
        """The environment variables with which another process joins the stack in this role."""
        secrets = self.var / "secrets" / role
        store = {
            "S3_URL": f"http://127.0.0.1:{self.env['S3_PORT']}",
            "S3_ACCESS_KEY": role,
            "S3_SECRET_KEY": (secrets / "s3_secret_key").read_text(),
        }
        return {
            "REDIS_URL": (secrets / "redis_url").read_text(),
            **({} if "S3_URL" in self.env else store),
            "MODEL_CACHE": str(self.var / "models"),
            "SQL_URL": f"sqlite:///{self.var}/records.db",
            **self.env,
        }

    def settings(self) -> Settings:
        """The settings of the operator's role."""
        own = self.environment()
        return Settings(
            redis_url=own["REDIS_URL"], s3_url=own["S3_URL"], s3_secret_key=own["S3_SECRET_KEY"],
            s3_access_key=own.get("S3_ACCESS_KEY", "segue"),
        )  # fmt: skip

    def refusals(self) -> list[str]:
        """Lines about operations that a role was refused, from the logs and from Redis' ACL log."""
        logs = sorted((self.var / "log").glob("*.log"))
        lines = [f"{log.name}: {line}" for log in logs for line in log.read_text().splitlines() if REFUSED.search(line)]
        with redis.Redis.from_url(self.settings().redis_url, decode_responses=True) as client:
            noted = [f"{entry['username']}: {entry['reason']} {entry['object']}" for entry in client.acl_log()]
        return lines + noted

    def run_line(self, name: str, log: Path, code: Path = services.ROOT, **changes: str) -> "subprocess.Popen[bytes]":
        """Start one more process of a Procfile entry, in its role. `code`: the folder whose code it runs."""
        log.touch(mode=0o600)
        with log.open("wb") as output:
            return subprocess.Popen(
                services.procfile(name), env={**self.environment(name), **changes}, cwd=code,
                stdout=output, stderr=output, umask=0o077,
            )  # fmt: skip

    def stop(self) -> int:
        """Send SIGTERM to the whole group, as an init system does. Returns the exit code."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGTERM)
        code = self.process.wait(services.PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def submit(self, content: bytes, **options: Any) -> dict[str, Any]:
        answer = self.http.post("/v1/jobs", content=content, headers={"Content-Type": "image/jpeg"}, params=options)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def finished(self, job: dict[str, Any], timeout_s: float = services.PATIENCE_S) -> dict[str, Any]:
        give_up = time.monotonic() + timeout_s
        while job["status"] in ("queued", "running"):
            assert time.monotonic() < give_up, f"{job['id']} is still {job['status']}"
            answer = self.http.get(job["links"]["self"], headers={"Prefer": "wait=10"})
            if answer.status_code == 503:
                time.sleep(0.5)
                continue
            job = answer.json()
        return job

    def all_finished(self, jobs: list[dict[str, Any]], timeout_s: float = services.PATIENCE_S) -> list[dict[str, Any]]:
        give_up = time.monotonic() + timeout_s
        return [self.finished(job, max(1, give_up - time.monotonic())) for job in jobs]

    def submit_all(self, contents: list[bytes], **options: Any) -> list[dict[str, Any]]:
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(partial(self.submit, **options), contents))

    def mask(self, job: dict[str, Any]) -> NDArray[np.uint8]:
        """The mask of a succeeded job, as class ids."""
        content = self.http.get(job["links"]["mask"]).content
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image)

    def pids(self, program: str) -> list[int]:
        """The pids of the supervisor's children whose command line contains `program`."""
        supervisor = int((self.var / "supervisord.pid").read_text())
        return [pid for pid in children(supervisor) if program in command_line(pid)]

    def logs(self) -> list[Path]:
        return sorted((self.var / "log").glob("*.log"))

    def queue(self) -> dict[str, Any]:
        return dict(json.loads(self.http.get("/v1/queue").text))


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
