"""What docker-compose reads in our compose files, and the functions of scripts/run.py."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

from services import ROOT

RUN = runpy.run_path(str(ROOT / "scripts" / "run.py"), run_name="run")
BIN = Path(sys.executable).parent
NOWHERE = Path("/no/such/folder")
PROFILES = ("--profile", "monitoring", "--profile", "training")


def compose(*more: str, roles: Path = NOWHERE) -> dict[str, dict[str, object]]:
    services = compose_document(*more, roles=roles)["services"]
    return {str(name): dict(service) for name, service in services.items()}


def compose_document(*more: str, roles: Path = NOWHERE) -> dict[str, Any]:
    files = [part for name in ("docker-compose.yml", *more) for part in ("-f", str(ROOT / name))]
    done = subprocess.run(
        [str(BIN / "docker-compose"), *files, *PROFILES, "config", "--format", "json"],
        env={**os.environ, "ROLES": str(roles)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document
