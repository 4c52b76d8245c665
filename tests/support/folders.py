"""A folder of photos, and runs of `segue folder` on it.

Each run is a separate process that cannot import the server's libraries.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pictures
import services

from segue_client.folder.journal import NAME

BLOCKED = (
    "flask", "numpy", "tensorflow", "keras", "redis", "minio", "celery", "kombu", "PIL", "storage", "worker",
    "model", "web", "cli",
)  # fmt: skip
LAUNCH = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({BLOCKED}))
runpy.run_path('scripts/submit_folder.py', run_name='__main__')
"""
# Root can read every file. Without these capabilities, file permissions apply to it too.
AS_USER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


def env() -> dict[str, str]:
    """The environment of a run, with SEGUE_KEY if a test has set it."""
    return {**os.environ, "PYTHONPATH": services.PYTHONPATH}


class Folder:
    """A folder of photos, the folder of their masks, and runs of the command on both."""

    def __init__(self, root: Path, port: int) -> None:
        self.source, self.out, self.port = root / "in", root / "out", port
        self.source.mkdir()

    def photo(self, name: str, width: int = 40, height: int = 30, seed: int = 0) -> None:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            pictures.encoded(pictures.photo(width, height, seed), "PNG" if name.endswith("png") else "JPEG")
        )

    def command(self, *options: str) -> list[str]:
        order = [str(self.source), "--out", str(self.out), "--url", f"http://127.0.0.1:{self.port}", *options]
        return [*AS_USER, sys.executable, "-c", LAUNCH, *order]

    def outcome(self, *options: str) -> "subprocess.CompletedProcess[str]":
        command = self.command(*options)
        return subprocess.run(
            command, cwd=services.ROOT, env=env(), text=True, capture_output=True, check=False, timeout=50
        )

    def run(self, *options: str, code: int = 0) -> dict[str, Any]:
        done = self.outcome("--json", *options)
        assert done.returncode == code, done.stdout + done.stderr
        assert done.stdout, done.stderr
        return dict(json.loads(done.stdout))

    def masks(self) -> set[str]:
        return {path.relative_to(self.out).as_posix() for path in self.out.rglob("*") if path.is_file()} - {NAME}

    def journal(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.out / NAME).read_text().splitlines()]

    def kill_at(self, kind: str, count: int) -> None:
        """Start a run and SIGKILL it as soon as the journal has `count` lines of this kind."""
        journal, wanted = self.out / NAME, f'{{"{kind}"'
        with subprocess.Popen(
            self.command("--concurrency", "2"),
            cwd=services.ROOT,
            env=env(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                services.wait_until(lambda: journal.exists() and journal.read_text().count(wanted) >= count, kind)
            finally:
                process.kill()
        assert process.returncode == -signal.SIGKILL
