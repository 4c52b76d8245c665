"""API keys that this process has read recently."""

from storage.clock import now_ms
from storage.records.api_key import ApiKey, KeyState
from web.access.remembered import Remembered


class KnownKeys(Remembered[ApiKey]):
    def valid(self, key_id: str) -> ApiKey | None:
        """Return the key, None if it is unknown, revoked or expired. Raises Unavailable as `get` does."""
        key = self.get(key_id)
        return key if key and key.state(now_ms()) is KeyState.VALID else None
