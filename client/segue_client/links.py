"""Resolves the links in the server's documents."""

from urllib.parse import urlsplit

import httpx

from segue_client.documents import ProblemError

PORTS = {"http": 80, "https": 443}


def resolve(base: httpx.URL, link: str) -> httpx.URL:
    """The URL of a link, below the server's path prefix.

    Raises ProblemError for a link to another server, which must not receive the key.
    """
    try:
        parts = urlsplit(link)
        foreign = bool(parts.netloc or parts.scheme) and _origin(httpx.URL(link)) != _origin(base)
    except (ValueError, httpx.InvalidURL):
        foreign = True
    if foreign:
        detail = "The response contains a link to another server. The client sent no request there."
        raise ProblemError({"title": "Link to another server", "detail": detail, "code": "foreign_link"})
    prefix, path = base.path.rstrip("/"), parts.path
    if not (prefix and (path == prefix or path.startswith(f"{prefix}/"))):
        path = f"{prefix}/{path.lstrip('/')}"
    return base.copy_with(raw_path=f"{path}{'?' if parts.query else ''}{parts.query}".encode("ascii", "replace"))


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or PORTS.get(url.scheme)
