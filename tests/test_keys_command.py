"""`segue keys`, as an operator types it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import services

from storage.clock import now_ms
from storage.records.api_keys import ApiKeys
from storage.records.sql import Database

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def segue(tmp_path: Path) -> Run:
    """Runs `segue keys` on a database without tables: a key may be the first thing created."""
    env = services.environment(VAR=tmp_path, SQL_URL=f"sqlite:///{tmp_path}/records.db")

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["segue", "keys", *arguments], env=env, capture_output=True, text=True, check=False)

    return run


def test_the_life_of_a_key(segue: Run, tmp_path: Path) -> None:
    done = segue("create", "--tenant", "acme", "--scope", "read", "--scope", "admin", "--name", "the script")
    assert done.returncode == 0, done.stderr
    key = done.stdout.removesuffix("\n")
    [found] = ApiKeys(Database(f"sqlite:///{tmp_path}/records.db")).all()
    assert found.matches(key, now_ms())
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
    assert (again.returncode, again.stderr) == (1, f"{found.id} is not a valid key\n")
    assert key.rpartition("_")[2][:20] not in segue("list", "--json").stdout + segue("list").stdout


def test_the_keys_of_a_shard_name_it(segue: Run, tmp_path: Path) -> None:
    """SHARD is in $VAR/env, which `make run` writes, or in the environment."""
    (tmp_path / "env").write_text("SHARD=a\n")
    made = json.loads(segue("create", "--tenant", "acme", "--json").stdout)
    rotated = json.loads(segue("rotate", made["id"], "--json").stdout)
    assert all(one["key"].startswith(f"seg_a_{made['id']}_") for one in (made, rotated))
    wrong = subprocess.run(
        ["segue", "keys", "create", "--tenant", "acme"], env=services.environment(VAR=tmp_path, SHARD="Shard-A"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "SHARD" in wrong.stderr


def test_a_first_key_is_created_once(segue: Run) -> None:
    first = segue("create", "--tenant", "acme", "--if-none", "--json")
    made = json.loads(first.stdout)
    again = segue("create", "--tenant", "acme", "--if-none")
    assert (again.returncode, again.stdout) == (0, "")
    assert "a valid one exists" in again.stderr
    segue("revoke", made["id"])
    assert segue("create", "--tenant", "acme", "--if-none").stdout.startswith("seg_")


def test_expiry_and_rotation(segue: Run, tmp_path: Path) -> None:
    made = json.loads(segue("create", "--tenant", "acme", "--expires", "90d", "--json").stdout)
    rotated = json.loads(segue("rotate", made["id"], "--grace", "1h", "--json").stdout)
    assert rotated["id"] == made["id"]
    assert rotated["key"] != made["key"]
    assert rotated["old_secret_until"] > rotated["rotated_at"]
    [found] = ApiKeys(Database(f"sqlite:///{tmp_path}/records.db")).all()
    assert abs(found.expires_ms - now_ms() - 90 * 24 * 3600_000) < 3600_000
    assert [found.matches(text, now_ms()) for text in (made["key"], rotated["key"])] == [True, True]
    [listed] = json.loads(segue("list", "--json").stdout)
    assert (listed["state"], listed["last_used_at"]) == ("valid", None)
    ended = segue("rotate", "0" * 12)
    assert (ended.returncode, ended.stderr) == (1, f"{'0' * 12} is not a valid key\n")
    for wrong in ("soon", "1y", "99999d", "-1d"):
        assert segue("create", "--tenant", "acme", f"--expires={wrong}").returncode == 2


def test_every_change_is_in_the_audit_log(segue: Run, tmp_path: Path) -> None:
    made = json.loads(segue("create", "--tenant", "acme", "--json").stdout)
    segue("revoke", made["id"])
    env = services.environment(VAR=tmp_path, SQL_URL=f"sqlite:///{tmp_path}/records.db")

    def audit(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["segue", "audit", *arguments], env=env, capture_output=True, text=True, check=False)

    found = json.loads(audit("--json").stdout)
    assert [one["action"] for one in found] == ["key.revoked", "key.created"]
    assert found[0]["source"].startswith("shell uid ")
    assert [one["action"] for one in json.loads(audit("--action", "key.created", "--json").stdout)] == ["key.created"]
    assert audit("--actor", "acme").stdout == ""
    assert made["id"] in audit("--key", made["id"], "--since", "1h").stdout
    assert audit("--action", "nonsense").returncode == 2


@pytest.mark.parametrize(
    "arguments", [("--tenant", "Acme"), ("--tenant", "anon-1"), ("--tenant", "acme", "--scope", "all"), ()]
)
def test_a_usage_error_creates_no_key(segue: Run, arguments: tuple[str, ...]) -> None:
    done = segue("create", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
