"""API keys as this process has seen them lately."""

from storage.clock import now_ms
from storage.records.api_key import ApiKey, KeyState
from web.access.remembered import Remembered


class KnownKeys(Remembered[ApiKey]):
    def valid(self, key_id: str) -> ApiKey | None:
        """None for a revoked or expired one as for an unknown one. Raises Unavailable as `get`."""
        key = self.get(key_id)
        return key if key and key.state(now_ms()) is KeyState.VALID else None
