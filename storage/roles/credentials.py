"""Each role's secrets, kept in files that only their owner can read: {folder}/{role}/redis_password, s3_secret_key.

Beside them the web's session_secret, and for PostgreSQL in containers sql_password and the owner's
{folder}/postgres_password.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from storage.roles.roles import PROGRAMS, TABLES, Role, redis_acl

SECRETS = ("redis_password", "s3_secret_key")


@dataclass(frozen=True)
class Credentials:
    """Of a role: the user of both is the role's name."""

    redis_password: str
    s3_secret_key: str

    def redis_url(self, role: Role, host: str) -> str:
        return f"redis://{role}:{self.redis_password}@{host}/0"


def kept(folder: Path) -> Mapping[Role, Credentials]:
    """Those that lie in `folder`, and new ones where none do: to change a role's, delete its folder first."""
    for place in (folder, *(folder / role for role in Role)):
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o700)
    return {role: Credentials(*(_kept(folder / role / name) for name in SECRETS)) for role in Role}


def session_secret(folder: Path) -> Path:
    """The file of what the web signs its sessions with, after `kept`."""
    file = folder / Role.WEB / "session_secret"
    _kept(file)
    return file


def _kept(file: Path) -> str:
    if not file.exists():
        write(file, secrets.token_hex(24))
    return file.read_text().strip()


def write(file: Path, text: str) -> Path:
    """For its owner's eyes only. Whole or not at all: half a secret would be kept as one."""
    partial = file.with_name(f".{file.name}")
    partial.touch(mode=0o600)
    partial.chmod(0o600)
    partial.write_text(text)
    return partial.replace(file)


def write_for_containers(folder: Path) -> None:
    """What docker-compose.yml reads: redis.acl, and the variables of each role, of MinIO's root, the operator, and of
    PostgreSQL, which whoever segments has no word of.
    """
    credentials = kept(folder)
    acl = write(folder / "redis.acl", redis_acl({role: own.redis_password for role, own in credentials.items()}))
    acl.chmod(0o644)  # Redis runs as another user in its container; of secrets it holds digests only
    users = json.dumps({role: credentials[role].s3_secret_key for role in PROGRAMS})
    root = credentials[Role.OPERATOR].s3_secret_key
    sql_owner = _kept(folder / "postgres_password")
    sql_users: dict[Role, str] = {role: _kept(folder / role / "sql_password") for role in TABLES}
    more: dict[Role, dict[str, str]] = {
        Role.WEB: {"SESSION_SECRET": session_secret(folder).read_text()},
        Role.OPERATOR: {
            "S3_USERS": f"'{users}'",
            "SQL_USERS": f"'{json.dumps(sql_users)}'",
            "SQL_URL": f"postgresql+psycopg://segue:{sql_owner}@postgres/segue",
        },
    }
    for role, own in credentials.items():
        told = {
            "REDIS_URL": own.redis_url(role, "redis:6379"),
            "S3_ACCESS_KEY": role,
            "S3_SECRET_KEY": own.s3_secret_key,
            **more.get(role, {}),
        }
        if role in sql_users:
            told["SQL_URL"] = f"postgresql+psycopg://{role}:{sql_users[role]}@postgres/segue"
        _write_variables(folder / f"{role}.env", told)
    postgres = {"POSTGRES_USER": "segue", "POSTGRES_PASSWORD": sql_owner, "POSTGRES_DB": "segue"}
    _write_variables(folder / "postgres.env", postgres)
    _write_variables(folder / "minio.env", {"MINIO_ROOT_USER": Role.OPERATOR, "MINIO_ROOT_PASSWORD": root})


def _write_variables(file: Path, variables: Mapping[str, str]) -> None:
    write(file, "".join(f"{name}={value}\n" for name, value in variables.items()))
