"""What is started is the same everywhere: Procfile, supervisor, compose."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from services import ROOT

from storage.roles import Role

RUN = runpy.run_path(str(ROOT / "scripts" / "run.py"), run_name="run")
BIN = Path(sys.executable).parent


def compose(*more: str) -> dict[str, dict[str, object]]:
    files = [part for name in ("docker-compose.yml", *more) for part in ("-f", str(ROOT / name))]
    done = subprocess.run(
        [str(BIN / "docker-compose"), *files, "config", "--format", "json"],
        env={**os.environ, "S3_SECRET_KEY": "secret"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    return {str(name): dict(service) for name, service in services.items()}


def test_web_stands_first_in_the_procfile() -> None:
    assert next(iter(RUN["procfile"]())) == "web"


@pytest.mark.parametrize("name", ["web", "worker", "housekeeper"])
def test_compose_runs_the_procfiles_commands(name: str) -> None:
    command = compose()[name]["command"]
    assert isinstance(command, list)
    line = RUN["procfile"]()[name]
    assert command == ["sh", "-c", f"exec {line}".replace("$", "$$")]


def test_a_gpu_changes_the_worker_and_nothing_else() -> None:
    plain, gpu = compose(), compose("compose.gpu.yml")
    worker = gpu.pop("worker")
    build, environment = dict(worker["build"]), dict(worker["environment"])  # type: ignore[call-overload]
    assert worker["command"] == plain.pop("worker")["command"]
    assert (build["args"], environment["ENGINE"]) == ({"REQUIREMENTS": "gpu"}, "tensorflow")
    assert (ROOT / "requirements" / "gpu.txt").is_file()
    assert gpu == plain


def test_compose_publishes_on_loopback_only() -> None:
    ports = [port for service in compose().values() for port in service.get("ports", [])]  # type: ignore[attr-defined]
    assert ports
    assert all(port["host_ip"] == "127.0.0.1" for port in ports)


def test_compose_has_redis_keep_the_queue() -> None:
    command = str(compose()["redis"]["command"])
    script = (ROOT / "deploy" / "redis.sh").read_text()
    for option in ("appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction", "listpack-value 1024"):
        words = [word for word in re.split(r"[\s-]+", option) if word]
        assert all(word in command for word in words), option
        assert option in re.sub(r"\s+", " ", script.replace("\\", "").replace("hash-max-", "hash-max-")), option


def test_the_supervisor_brings_everything_back(tmp_path: Path) -> None:
    text = RUN["supervisor_config"](tmp_path, workers=3, own={})
    assert text.count("autorestart=true") == len(RUN["procfile"]())
    worker = text.partition("[program:worker]")[2].partition("[program:")[0]
    assert "numprocs=3" in worker


def test_the_environment_is_kept_for_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1234")
    first, second = RUN["environment"](tmp_path), RUN["environment"](tmp_path)
    assert first == second
    assert first["PORT"] == "1234"


def test_every_role_keeps_its_secrets_for_the_next_run(tmp_path: Path) -> None:
    first, second = (RUN["own_variables"](tmp_path, {"REDIS_PORT": "1"}) for _ in range(2))
    assert first == second
    keys = {Path(first[role]["S3_SECRET_KEY_FILE"]).read_text() for role in Role}
    urls = {Path(first[role]["REDIS_URL_FILE"]).read_text() for role in Role}
    assert len(keys) == len(urls) == len(Role)
    assert all(len(key) >= 32 for key in keys)


def test_a_callers_server_gets_the_callers_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_URL", "http://elsewhere")
    monkeypatch.setenv("S3_SECRET_KEY", "the caller's")
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere")
    env = RUN["environment"](tmp_path)
    assert (env["S3_SECRET_KEY"], env["REDIS_URL"]) == ("the caller's", "redis://elsewhere")
    assert not any(RUN["own_variables"](tmp_path, env).values())


def test_credentials_for_no_server_of_the_callers_are_not_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S3_SECRET_KEY", "for something else")
    monkeypatch.setenv("REDIS_URL_FILE", "/for/something/else")
    assert not {"S3_SECRET_KEY", "REDIS_URL_FILE"} & set(RUN["environment"](tmp_path))


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a shell")
def test_the_lock_files_pin_by_hash() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text()
        pins = re.findall(r"^[a-z0-9][^ ]*==", text, re.MULTILINE)
        blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
        assert len(pins) == len(blocks) > 0
        assert all("--hash=sha256:" in block for block in blocks)
        assert "://" not in text
