"""What an operator reads if a setting is wrong or missing, or a part does not answer: one line, in each command."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import services
from click.testing import Result
from typer.testing import CliRunner

from cli.app import app

NOWHERE = "127.0.0.1:1"
DOWN = {"REDIS_URL": f"redis://{NOWHERE}/0", "S3_URL": f"http://{NOWHERE}", "S3_SECRET_KEY": "secret"}
SQL_DOWN = {"SQL_URL": f"postgresql+psycopg://nobody@{NOWHERE}/none"}
WITH_ALL = (
    "top --once", "top --json", "doctor", "doctor --repair", "trace job_1", "setup", "models list", "models rollback",
    "models show pets/2", "models promote pets/2", "models sign pets/2 key.pem", "models compare pets/1 pets/2",
    "drift show", "drift profile pets/2 --data photos",
)  # fmt: skip
WITH_SQL = (
    "keys list", "keys create --tenant acme", "keys rotate 3f9a", "keys revoke 3f9a", "sessions list --tenant acme",
    "sessions end --tenant acme", "audit",
)  # fmt: skip
Segue = Callable[..., Result]


@pytest.fixture
def segue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Segue:
    """Runs an operator's command in this process, with no settings but the given ones."""
    monkeypatch.setattr("telemetry.logs.configure_command", lambda _: None)  # it would silence later tests
    for name in os.environ.keys() - services.environment().keys():
        monkeypatch.delenv(name)
    monkeypatch.setenv("VAR", str(tmp_path))

    def run(command: str, **environment: str) -> Result:
        return CliRunner().invoke(app, command.split(), env=environment)

    return run


def is_one_line(done: Result, code: int, named: str) -> bool:
    return (done.exit_code, done.stdout, done.stderr.count("\n")) == (code, "", 1) and named in done.stderr


@pytest.mark.parametrize("command", WITH_ALL)
def test_a_missing_secret_is_named(segue: Segue, tmp_path: Path, command: str) -> None:
    done = segue(command)
    assert is_one_line(done, 2, "S3_SECRET_KEY"), done.output
    assert str(tmp_path / "env") in done.stderr


@pytest.mark.parametrize("command", WITH_ALL)
def test_redis_or_a_store_that_is_down_is_named(segue: Segue, command: str) -> None:
    done = segue(command, **DOWN, **SQL_DOWN)
    if command == "doctor":  # it reports on the parts themselves
        assert done.exit_code == 1
        assert "!!  redis: does not answer" in done.stdout
    else:
        assert is_one_line(done, 1, "not available: "), done.output
        assert "`segue doctor`" in done.stderr


@pytest.mark.parametrize("command", WITH_SQL)
def test_a_database_that_is_down_is_named(segue: Segue, command: str) -> None:
    assert is_one_line(segue(command, **SQL_DOWN), 1, "not available: records: OperationalError"), command


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"MICRO_BATCH": "many"}, "MICRO_BATCH: "),
        ({"MICRO_BATCH": "0", "LEASE_S": "-1"}, "LEASE_S: "),
        ({"REDIS_URL": "nonsense"}, "REDIS_URL"),
        ({"S3_URL": "nonsense"}, "S3_URL"),
        ({"SQL_URL": "nonsense"}, "SQL_URL"),
        ({"SQL_USERS": "{"}, "SQL_USERS"),
        ({"S3_SECRET_KEY_FILE": "/nowhere/secret"}, "/nowhere/secret"),
        ({"S3_URL": "https://localhost", "S3_CA": "/nowhere.pem"}, "S3_CA"),
    ],
)
@pytest.mark.parametrize("command", ["top --once", "keys list"])
def test_a_wrong_setting_is_named(segue: Segue, command: str, environment: dict[str, str], named: str) -> None:
    done = segue(command, **{**DOWN, **environment})
    assert is_one_line(done, 2, named), done.output
    assert done.stderr.startswith("wrong configuration: ")
