"""Bodies that come in chunks, without a length."""

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge


class WholeBodyRequest(Request):
    def get_data(self, *args: bool, **kwargs: bool) -> bytes:  # type: ignore[override]
        """Werkzeug cuts chunks off at the limit without a word, and what is left may even mean something."""
        content: bytes = super().get_data(*args, **kwargs)  # type: ignore[call-overload]
        limit = self.max_content_length
        if self.content_length is None and limit is not None and len(content) >= limit:
            raise RequestEntityTooLarge
        return content
