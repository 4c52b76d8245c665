"""The direction of imports between packages, checked in a fresh interpreter; and size limits."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import services

PATHS = services.environment(PYTHONPATH=services.PYTHONPATH)
SERVER = ("storage", "telemetry", "web", "worker", "model", "flask", "numpy", "pydantic", "minio", "redis", "celery")
FORBIDDEN = {
    "web.app": ("worker", "model", "tensorflow", "keras", "ai_edge_litert", "numpy", "cv2", "sqlalchemy", "alembic"),
    "worker.app": ("web", "flask", "tensorflow", "keras", "model", "ai_edge_litert"),
    "worker.tasks": ("web", "flask", "tensorflow", "keras", "ai_edge_litert"),
    "worker.pipeline.pipeline": ("web", "flask", "tensorflow", "keras"),
    "worker.engines": ("web", "flask", "tensorflow", "keras"),
    "telemetry.metrics": (*SERVER[:1], *SERVER[2:]),
    "telemetry.exporter": (*SERVER[:1], *SERVER[2:]),
    "storage.connection": ("web", "worker", "model", "flask", "tensorflow", "numpy"),
    "storage.records.api_keys": ("web", "worker", "model", "flask", "numpy", "alembic"),
    "storage.records.jobs": ("web", "worker", "model", "flask", "numpy", "alembic"),
    "storage.photos.photo": ("web", "worker", "model", "flask", "numpy"),
    "storage.recovery": ("web", "worker", "model", "flask"),
    "storage.backfill.backfill": ("web", "worker", "model", "learning", "cli", "flask", "numpy"),
    "storage.backup.saving": ("web", "worker", "model", "learning", "cli", "flask", "numpy"),
    "storage.backup.restoring": ("web", "worker", "model", "learning", "cli", "flask", "numpy"),
    "storage.training.decisions": ("web", "worker", "model", "learning", "flask", "numpy", "sqlalchemy"),
    "learning.review.scores": ("web", "worker", "cli", "flask", "tensorflow", "keras", "ai_edge_litert"),
    "model.engines": ("storage", "web", "worker", "minio", "redis", "celery", "flask", "tensorflow", "ai_edge_litert"),
    "model.segmenter": ("storage", "web", "worker", "minio", "redis", "celery", "flask", "tensorflow", "keras"),
    "learning.gate.gate": ("storage", "web", "worker", "minio", "redis", "celery", "flask", "tensorflow", "keras"),
    "model.evaluate": ("storage", "web", "worker", "minio", "redis", "celery", "flask", "tensorflow", "keras"),
    "segue_client": (*SERVER, "cli", "typer"),
    "segue_client.folder.run": (*SERVER, "cli", "typer"),
    "segue_client.commands.app": (*SERVER, "cli"),
    "telemetry.logs": ("storage", "web", "worker", "model", "cli", "flask", "celery"),
    "telemetry.traces": ("storage", "web", "worker", "model", "cli", "flask", "celery", "opentelemetry"),
    "telemetry.spans": ("storage", "web", "worker", "model", "cli", "flask", "celery"),
    "telemetry.context": ("storage", "web", "worker", "model", "cli", "flask", "celery"),
    "cli.app": ("storage", "telemetry", "web", "worker", "model", "celery", "flask", "numpy"),
    "segue": ("storage", "telemetry", "web", "worker", "model", "celery", "flask", "numpy"),
}


@pytest.mark.parametrize("module", FORBIDDEN)
def test_imports_follow_the_direction(module: str) -> None:
    code = f"import sys, {module}; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=PATHS, cwd=services.ROOT, capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & set(FORBIDDEN[module])


@pytest.mark.alone
def test_the_web_starts_quickly() -> None:
    """Compares the CPU seconds of import and create_app() with those of importing the libraries, in turns."""
    libraries = "celery.app, cryptography, flask, kombu, limits, minio, obstore, PIL.Image, pydantic_settings, redis"

    def cpu_s(what: str) -> float:
        command = [sys.executable, "-c", f"{what}; import time; print(time.process_time())"]
        env = services.environment(S3_SECRET_KEY="secret")
        done = subprocess.run(command, cwd=services.ROOT, env=env, capture_output=True, text=True, check=True)
        return float(done.stdout)

    turns = [(cpu_s("from web.app import create_app; create_app()"), cpu_s(f"import {libraries}")) for _ in range(5)]
    assert min(web for web, _ in turns) < 3 * min(bare for _, bare in turns), turns


def test_an_open_web_needs_no_sql() -> None:
    code = (
        "import sys; from web.app import create_app; client = create_app().test_client();"
        "assert client.get('/healthz').status_code == 200 and client.get('/v1/jobs/x').status_code == 404;"
        "assert 'sqlalchemy' not in sys.modules"
    )
    env = services.environment(S3_SECRET_KEY="secret")
    subprocess.run([sys.executable, "-c", code], cwd=services.ROOT, env=env, check=True)


def test_only_the_settings_read_the_environment() -> None:
    readers = [
        path.relative_to(services.ROOT).as_posix()
        for package in ("storage", "telemetry", "web", "worker")
        for path in (services.ROOT / package).rglob("*.py")
        if re.search(r"os\.environ|getenv", path.read_text())
    ]
    assert readers == ["storage/settings.py"]


def test_files_and_functions_stay_small() -> None:
    for package in ("storage", "telemetry", "web", "worker", "learning", "model", "cli", "client"):
        longest = 250 if package in ("cli", "client", "learning", "telemetry") else 400
        for path in (services.ROOT / package).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= longest, path


def test_redis_keys_have_one_prefix() -> None:
    from storage import keys

    prelude = (services.ROOT / "storage/queue/lua/prelude.lua").read_text()
    assert f"local P = '{keys.PREFIX}'" in prelude
    assert f"local TICKETS = '{keys.SEGMENT_QUEUE}'" in prelude


def test_waiting_is_patient_but_not_endless() -> None:
    """`wait_until` of the tests: without a limit, a hung service would hang the suite."""
    started = time.monotonic()
    with pytest.raises(TimeoutError, match="never"):
        services.wait_until(lambda: False, "never", 0.2)
    assert time.monotonic() - started < 30


def test_no_test_folder_shadows_a_package() -> None:
    assert not list((services.ROOT / "tests").rglob("__init__.py"))
    assert Path(services.ROOT / "storage" / "__init__.py").is_file()
