"""One API key: as whom it calls and what for. Known without the database, and so without SQLAlchemy."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from enum import StrEnum

ANONYMOUS = "anon-"  # begins the tenants of those who came without a key, and no other's

_KEY = re.compile(r"seg_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
# Part of object keys and of Redis keys.
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class Scope(StrEnum):
    SUBMIT = "submit"
    READ = "read"
    ADMIN = "admin"  # everything, and what concerns all tenants: the models


class KeyState(StrEnum):
    VALID = "valid"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True)
class ApiKey:
    """`id`: the key's public part, by which it is looked up and named. Times in ms UTC, 0: never.

    `old_digest`: of the secret before the last rotation, which is accepted until `old_until_ms`.
    """

    id: str
    digest: str
    tenant: str
    scopes: frozenset[Scope]
    name: str
    created_ms: int
    revoked_ms: int = 0
    expires_ms: int = 0
    rotated_ms: int = 0
    old_digest: str = ""
    old_until_ms: int = 0
    last_used_ms: int = 0

    def matches(self, text: str, now_ms: int) -> bool:
        """In constant time."""
        given = digest(text)
        is_old = hmac.compare_digest(self.old_digest, given) and now_ms < self.old_until_ms
        return hmac.compare_digest(self.digest, given) or is_old

    def state(self, now_ms: int) -> KeyState:
        if self.revoked_ms:
            return KeyState.REVOKED
        return KeyState.EXPIRED if 0 < self.expires_ms <= now_ms else KeyState.VALID

    def carries(self, begun_ms: int, now_ms: int) -> bool:
        """Whether a session that began then may go on: one of the old secret ends with it."""
        return self.state(now_ms) is KeyState.VALID and (begun_ms >= self.rotated_ms or now_ms < self.old_until_ms)


def key_id(text: str) -> str | None:
    """The public part of what may be a key; None for what cannot be one."""
    found = _KEY.fullmatch(text)
    return found.group(1) if found else None


def check_tenant(name: str) -> None:
    """Raises ValueError for a name that could not be part of a key, or could be an anonymous tenant's."""
    if not _TENANT.fullmatch(name):
        raise ValueError("a tenant's name has 1 to 64 of a-z, 0-9, _ and -, and begins with a letter or digit")
    if name.startswith(ANONYMOUS):
        raise ValueError(f"no tenant's name begins with {ANONYMOUS}: those are the anonymous ones")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
