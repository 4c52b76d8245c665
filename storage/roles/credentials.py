"""Each role's secrets, in files that only their owner can read.

{folder}/{role}/ holds redis_password and s3_secret_key, web/ also session_secret. For PostgreSQL in
containers there are also {folder}/{role}/sql_password and the database owner's
{folder}/postgres_password.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from storage.roles.roles import PROGRAMS, TABLES, Role, redis_acl, seaweedfs_identities

SECRETS = ("redis_password", "s3_secret_key")


@dataclass(frozen=True)
class Credentials:
    """One role's secrets. The user name is the role's name in both places."""

    redis_password: str
    s3_secret_key: str

    def redis_url(self, role: Role, host: str) -> str:
        return _with_user(f"redis://{host}/0", role, self.redis_password)


def load_or_create(folder: Path) -> Mapping[Role, Credentials]:
    """Each role's credentials.

    Creates missing ones; delete a role's folder to change its secrets.
    """
    for place in (folder, *(folder / role for role in Role)):
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o700)
    return {role: Credentials(*(_load_or_create_file(folder / role / name) for name in SECRETS)) for role in Role}


def session_secret(folder: Path) -> Path:
    """The file with the secret that signs sessions. Call `load_or_create` first."""
    file = folder / Role.WEB / "session_secret"
    _load_or_create_file(file)
    return file


def _load_or_create_file(file: Path) -> str:
    if not file.exists():
        write(file, secrets.token_hex(24))
    return file.read_text().strip()


def write(file: Path, text: str) -> Path:
    """Write a file that only its owner can read.

    Atomic: a truncated secret would be used as it is.
    """
    partial = file.with_name(f".{file.name}")
    partial.touch(mode=0o600)
    partial.chmod(0o600)
    partial.write_text(text)
    return partial.replace(file)


def write_for_containers(folder: Path, redis: str, sql: str, bucket_prefix: str) -> None:
    """Write the files that docker-compose.yml reads, and that become Secrets on Kubernetes.

    These are redis.acl, the variables of each role, of MinIO (its root user is the operator) and of
    PostgreSQL, and the identities of SeaweedFS. The worker gets no PostgreSQL credentials. `redis`,
    `sql`: the servers' addresses as in REDIS_URL and SQL_URL, without a user; ValueError for one that
    has a user or no scheme.

    A value stands without quotes: Docker Compose would remove them, `kubectl` would not.
    """
    for name, url in (("Redis", redis), ("PostgreSQL", sql)):
        if "://" not in url or "@" in url:
            raise ValueError(f"the address of {name} must be scheme://host:port/database, without a user")
    credentials = load_or_create(folder)
    acl = write(folder / "redis.acl", redis_acl({role: own.redis_password for role, own in credentials.items()}))
    acl.chmod(0o644)  # Redis runs as another user in its container; the file holds only digests of secrets
    users = json.dumps({role: credentials[role].s3_secret_key for role in PROGRAMS})
    root = credentials[Role.OPERATOR].s3_secret_key
    sql_owner = _load_or_create_file(folder / "postgres_password")
    sql_users: dict[Role, str] = {role: _load_or_create_file(folder / role / "sql_password") for role in TABLES}
    more: dict[Role, dict[str, str]] = {
        Role.WEB: {"SESSION_SECRET": session_secret(folder).read_text()},
        Role.OPERATOR: {
            "S3_USERS": users,
            "SQL_USERS": json.dumps(sql_users),
            "SQL_URL": _with_user(sql, "segue", sql_owner),
        },
    }
    for role, own in credentials.items():
        variables = {
            "REDIS_URL": _with_user(redis, role, own.redis_password),
            "S3_ACCESS_KEY": role,
            "S3_SECRET_KEY": own.s3_secret_key,
            **more.get(role, {}),
        }
        if role in sql_users:
            variables["SQL_URL"] = _with_user(sql, role, sql_users[role])
        _write_variables(folder / f"{role}.env", variables)
    (folder / "seaweedfs").mkdir(exist_ok=True, mode=0o700)
    secret_keys = {role: own.s3_secret_key for role, own in credentials.items()}
    write(folder / "seaweedfs" / "s3.json", seaweedfs_identities(secret_keys, bucket_prefix))
    postgres = {"POSTGRES_USER": "segue", "POSTGRES_PASSWORD": sql_owner, "POSTGRES_DB": "segue"}
    _write_variables(folder / "postgres.env", postgres)
    _write_variables(folder / "minio.env", {"MINIO_ROOT_USER": Role.OPERATOR, "MINIO_ROOT_PASSWORD": root})


def _with_user(url: str, user: str, password: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{user}:{password}@{rest}"


def _write_variables(file: Path, variables: Mapping[str, str]) -> None:
    write(file, "".join(f"{name}={value}\n" for name, value in variables.items()))
