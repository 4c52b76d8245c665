"""multipart/form-data as real clients write it.

Werkzeug's test client omits the line break of an empty file.
"""

from typing import Any

import httpx


def form(files: list[tuple[str, tuple[str, bytes]]], fields: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the keyword arguments for a test client's `post`."""
    request = httpx.Request("POST", "http://localhost", files=files, data=fields)
    return {"data": request.read(), "content_type": request.headers["Content-Type"]}
