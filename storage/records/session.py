"""One session of a browser. Known without the database, and so without SQLAlchemy."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Session:
    """Times in ms UTC. `digest`: of the cookie's token, which is stored nowhere. `key_id`: empty for an anonymous
    tenant's. `agent`: the browser, by its own word.
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
