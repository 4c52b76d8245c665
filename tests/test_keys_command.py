"""`segue keys`, as an operator types it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import services

from storage.records.api_keys import ApiKeys
from storage.records.sql import Database

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def segue(tmp_path: Path) -> Run:
    """Over a database that nobody has set up: a key may be the first thing that is made."""
    env = services.environment(VAR=tmp_path, SQL_URL=f"sqlite:///{tmp_path}/records.db")

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["segue", "keys", *arguments], env=env, capture_output=True, text=True, check=False)

    return run


def test_a_key_from_its_making_to_its_end(segue: Run, tmp_path: Path) -> None:
    done = segue("create", "--tenant", "acme", "--scope", "read", "--scope", "admin", "--name", "the script")
    assert done.returncode == 0, done.stderr
    key = done.stdout.removesuffix("\n")
    [found] = ApiKeys(Database(f"sqlite:///{tmp_path}/records.db")).all()
    assert found.matches(key)
    assert (found.tenant, sorted(found.scopes), found.name) == ("acme", ["admin", "read"], "the script")
    made = json.loads(segue("create", "--tenant", "acme", "--json").stdout)
    assert made["scopes"] == ["read", "submit"]
    listed = json.loads(segue("list", "--json").stdout)
    assert [entry["id"] for entry in listed] == [found.id, made["id"]]
    assert "key" not in listed[1]
    assert segue("revoke", found.id).stdout == f"{found.id} is revoked\n"
    states = [line.split()[:3] for line in segue("list").stdout.splitlines()]
    assert states == [[found.id, "revoked", "acme"], [made["id"], "valid", "acme"]]
    again = segue("revoke", found.id)
    assert (again.returncode, again.stderr) == (1, f"{found.id} is no valid key\n")
    assert key.rpartition("_")[2][:20] not in segue("list", "--json").stdout + segue("list").stdout


@pytest.mark.parametrize(
    "arguments", [("--tenant", "Acme"), ("--tenant", "anon-1"), ("--tenant", "acme", "--scope", "all"), ()]
)
def test_a_wrong_command_makes_no_key(segue: Run, arguments: tuple[str, ...]) -> None:
    done = segue("create", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_an_outage_is_one_line(tmp_path: Path) -> None:
    env = services.environment(VAR=tmp_path, SQL_URL="postgresql+psycopg://nobody@127.0.0.1:1/none")
    done = subprocess.run(["segue", "keys", "list"], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "not available: records: OperationalError\n")
