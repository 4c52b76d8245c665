"""Cross-origin resource sharing: which other origins' pages may read this server's responses.

https://fetch.spec.whatwg.org/#http-cors-protocol
"""

import re
from typing import Protocol

from flask import Flask, Response, request

ANY = "*"
METHODS = "GET, HEAD, POST, PUT, DELETE"
ACCEPTED = (
    "Accept", "Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "Last-Event-ID", "Prefer",
    "X-CSRF-Token", "X-Request-ID", "traceparent",
)  # fmt: skip
EXPOSED = (
    "Allow", "Content-Disposition", "ETag", "Idempotency-Replayed", "Link", "Location", "Preference-Applied",
    "Repr-Digest", "Retry-After", "WWW-Authenticate", "X-Accel-Buffering", "X-Request-ID",
)  # fmt: skip
PREFLIGHT_S = 600
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:\d+)?|https?://\[[0-9a-f:]+\](:\d+)?")


class CorsSettings(Protocol):
    @property
    def cors_origins(self) -> str: ...
    @property
    def cors_credentials(self) -> bool: ...


def origins(settings: CorsSettings) -> frozenset[str]:
    """Parse CORS_ORIGINS. Raises ValueError for an entry that browsers do not send as an origin."""
    names = frozenset(name.strip() for name in settings.cors_origins.split(",") if name.strip())
    for name in names - {ANY}:
        if not _ORIGIN.fullmatch(name):
            raise ValueError(f"{name} is not an origin such as https://app.example.org")
    return names


def refusal(settings: CorsSettings, needs_no_key: bool) -> str:
    """Why a server with these settings must not start; empty if it may."""
    try:
        allowed = origins(settings)
    except ValueError as error:
        return f"CORS_ORIGINS: {error}."
    if ANY in allowed and settings.cors_credentials:
        return "CORS_ORIGINS=* with CORS_CREDENTIALS lets every page act for a signed-in user: name the origins."
    if ANY in allowed and needs_no_key:
        return (
            "CORS_ORIGINS=* opens a server that requires no key to every page: name the origins or set REQUIRE_KEYS=1."
        )
    return ""


class Cors:
    """Adds the CORS headers. Without CORS_ORIGINS it adds none: other origins' pages read nothing."""

    def __init__(self, settings: CorsSettings) -> None:
        self._origins, self._credentials = origins(settings), settings.cors_credentials

    def register(self, app: Flask) -> None:
        """Call this before registering authentication: a preflight request carries no credentials."""
        if self._origins:
            app.before_request(self._answer_preflight)
            app.after_request(self._allow)

    def allows(self, origin: str | None) -> bool:
        return origin is not None and (origin in self._origins or ANY in self._origins)

    def trusts(self, origin: str | None, by_cookie: bool) -> bool:
        """Whether a page of this origin may make changes without a key. CORS_ORIGINS must name it."""
        return origin in self._origins and origin != ANY and (self._credentials or not by_cookie)

    def _answer_preflight(self) -> Response | None:
        asked = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if not asked or not self.allows(request.headers.get("Origin")):
            return None
        response = Response(status=204)
        response.headers["Access-Control-Allow-Methods"] = METHODS
        response.headers["Access-Control-Allow-Headers"] = ", ".join(ACCEPTED)
        response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_S)
        return response

    def _allow(self, response: Response) -> Response:
        origin = request.headers.get("Origin")
        if ANY not in self._origins:
            response.vary.add("Origin")
        if origin is None or not self.allows(origin):
            return response
        response.headers["Access-Control-Allow-Origin"] = ANY if ANY in self._origins else origin
        response.headers["Access-Control-Expose-Headers"] = ", ".join(EXPOSED)
        if self._credentials:
            response.headers["Access-Control-Allow-Credentials"] = "true"
        return response
