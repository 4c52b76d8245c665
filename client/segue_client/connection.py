"""Where a client's server may be."""

import httpx


def address(url: str) -> httpx.URL:
    """Raises ValueError where it is none of a server."""
    try:
        found = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"url: {error}.") from error
    if found.scheme not in ("http", "https") or not found.host:
        raise ValueError("url: http://… or https://…")
    return found
