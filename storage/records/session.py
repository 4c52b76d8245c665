"""One browser session. This module does not import SQLAlchemy."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Session:
    """Times in ms UTC. `digest`: of the cookie's token; the token itself is not stored.

    `key_id`: "" for an anonymous tenant. `agent`: the browser, as its User-Agent header claims.
    """

    id: str
    digest: str
    tenant: str
    key_id: str
    created_ms: int
    seen_ms: int
    expires_ms: int
    ended_ms: int = 0
    agent: str = ""

    def active(self, now_ms: int, idle_ms: int) -> bool:
        return not self.ended_ms and now_ms < min(self.expires_ms, self.seen_ms + idle_ms)


def token_digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
