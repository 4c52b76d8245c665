"""One API key: its tenant and its scopes. This module does not import SQLAlchemy."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from enum import StrEnum

ANONYMOUS = "anon-"  # prefix of the names of anonymous tenants only

_KEY = re.compile(r"seg_(?:[a-z0-9]{1,8}_)?([0-9a-f]{12})_[A-Za-z0-9_-]{43}")  # with the shard, if it has a name
# Used in object keys and Redis keys.
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class Scope(StrEnum):
    SUBMIT = "submit"
    READ = "read"
    ADMIN = "admin"  # all of the above, and what concerns all tenants, such as the models


class KeyState(StrEnum):
    VALID = "valid"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True)
class ApiKey:
    """`id`: the public part of the key, which identifies it. Times in ms UTC, 0: never.

    `old_digest`: digest of the key as it was before the last rotation; valid until `old_until_ms`.
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
        """Whether `text` is this key, or its predecessor within the grace period.

        Compares in constant time.
        """
        given = digest(text)
        is_old = hmac.compare_digest(self.old_digest, given) and now_ms < self.old_until_ms
        return hmac.compare_digest(self.digest, given) or is_old

    def state(self, now_ms: int) -> KeyState:
        if self.revoked_ms:
            return KeyState.REVOKED
        return KeyState.EXPIRED if 0 < self.expires_ms <= now_ms else KeyState.VALID

    def carries(self, begun_ms: int, now_ms: int) -> bool:
        """Whether a session begun at `begun_ms` may continue.

        A session from before a rotation ends when the old secret expires.
        """
        return self.state(now_ms) is KeyState.VALID and (begun_ms >= self.rotated_ms or now_ms < self.old_until_ms)


def key_id(text: str) -> str | None:
    """The public part of a key; None if `text` does not have the form of a key."""
    found = _KEY.fullmatch(text)
    return found.group(1) if found else None


def check_tenant(name: str) -> None:
    """Raises ValueError for a name with other characters, or one that an anonymous tenant could
    have.
    """
    if not _TENANT.fullmatch(name):
        raise ValueError("a tenant's name has 1 to 64 of a-z, 0-9, _ and -, and begins with a letter or digit")
    if name.startswith(ANONYMOUS):
        raise ValueError(f"a tenant's name must not begin with {ANONYMOUS}, which is reserved for anonymous tenants")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
