"""multipart/form-data as real clients write it: Werkzeug's own leaves out a line break in an empty file."""

from typing import Any

import httpx


def form(files: list[tuple[str, tuple[str, bytes]]], fields: dict[str, str] | None = None) -> dict[str, Any]:
    """→ arguments of a test client's `post`"""
    request = httpx.Request("POST", "http://localhost", files=files, data=fields)
    return {"data": request.read(), "content_type": request.headers["Content-Type"]}
