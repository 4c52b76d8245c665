"""Each role's secrets, kept in files that only their owner can read: {folder}/{role}/redis_password, s3_secret_key."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from storage.roles import Role

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
