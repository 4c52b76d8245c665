"""scripts/first_start.sh with a stand-in for `docker`, which notes its arguments and runs `segue` on this machine.

tests/compose runs it on a real engine.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import services

STANDIN = """\
#!/bin/sh
line=$*
printf '%s\\n' "$line" >> "$CALLS"
case "$line" in
"$FAILING"*) exit 1 ;;
"compose config") shift; exec docker-compose "$@" ;;
"compose port "*) echo 127.0.0.1:8123 ;;
"compose exec "*) echo https ;;
*" setup python -m segue roles /secrets") exec python -m segue roles "$ROLES" ;;
*" setup python -m segue "*) exec python -m ${line#* setup python -m } ;;
esac
"""


@dataclass(frozen=True)
class Machine:
    """A machine whose `docker` is the stand-in."""

    folder: Path

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets"

    def start(self, *options: str, failing: str = "nothing", **variables: str) -> "subprocess.CompletedProcess[str]":
        env = services.environment(
            ROLES=self.secrets, CALLS=self.folder / "calls", FAILING=failing, PYTHONPATH=services.PYTHONPATH,
            SQL_URL=f"sqlite:///{self.folder}/records.db", **variables,
        )  # fmt: skip
        env["PATH"] = f"{self.folder}:{env['PATH']}"
        command = [str(services.ROOT / "scripts" / "first_start.sh"), *options]
        return subprocess.run(command, env=env, cwd=self.folder, capture_output=True, text=True, check=False)

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    def contents(self) -> dict[str, bytes]:
        return {str(file): file.read_bytes() for file in self.secrets.rglob("*") if file.is_file()}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    docker = tmp_path / "docker"
    docker.write_text(STANDIN)
    docker.chmod(0o755)
    return Machine(tmp_path)


def keys(done: "subprocess.CompletedProcess[str]") -> list[str]:
    return re.findall(r"^seg_\w{12}_\S{43}$", done.stdout, re.MULTILINE)


def test_the_first_start(machine: Machine) -> None:
    done = machine.start("--scale", "worker=2", TENANT="acme")
    assert done.returncode == 0, done.stderr
    assert len(keys(done)) == 1
    assert done.stdout.splitlines()[0].startswith("The first API key, of the tenant acme.")
    assert done.stdout.splitlines()[-1] == "Segue is ready on https://127.0.0.1:8123"
    verbs = [" ".join(call.split()[:2]) for call in machine.calls()]
    assert verbs == [f"compose {verb}" for verb in ("version", "config", "build", "run", "run", "up", "port", "exec")]
    assert "compose up -d --wait --wait-timeout 300 --scale worker=2" in machine.calls()
    assert not (machine.folder / "calls").read_text().count("seg_")  # no secret in an argument


def test_the_secrets_are_private(machine: Machine) -> None:
    assert machine.start().returncode == 0
    files = [file for file in machine.secrets.rglob("*") if file.is_file()]
    assert len(files) > 15
    readable = [file.name for file in files if file.stat().st_mode & 0o777 != 0o600]
    assert readable == ["redis.acl"]  # only digests
    assert machine.secrets.stat().st_mode & 0o777 == 0o700


def test_a_second_start_keeps_the_secrets_and_creates_no_key(machine: Machine) -> None:
    machine.start()
    before = machine.contents()
    again = machine.start()
    assert (again.returncode, keys(again)) == (0, [])
    assert "A valid API key exists already" in again.stdout
    changed = {file for file, content in machine.contents().items() if content != before[file]}
    assert {Path(file).suffix for file in changed} <= {".pem"}, changed
    assert machine.contents().keys() == before.keys()


def test_the_key_is_shown_even_if_a_container_does_not_become_healthy(machine: Machine) -> None:
    done = machine.start(failing="compose up")
    assert done.returncode == 1
    assert len(keys(done)) == 1
    assert "Not all containers are healthy" in done.stderr
    assert "is ready" not in done.stdout


@pytest.mark.parametrize("failing", ["compose build", "compose run --rm -T --no-deps", "compose run --rm -T setup"])
def test_a_failed_step_ends_the_start(machine: Machine, failing: str) -> None:
    done = machine.start(failing=failing)
    assert (done.returncode, done.stdout) == (1, "")
    assert not [call for call in machine.calls() if call.startswith("compose up")]


def test_a_machine_without_compose(machine: Machine) -> None:
    done = machine.start(failing="compose version")
    assert (done.returncode, done.stderr) == (1, "Docker Compose is missing: 'docker compose version' fails.\n")
