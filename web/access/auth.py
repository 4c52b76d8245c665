"""Authentication and authorization before each request. Every route outside PUBLIC needs a credential."""

import re
from collections.abc import Callable

from flask import g, request

from storage.problems import Problem, Unavailable
from storage.records.api_key import Scope
from web.access.caller import LOCAL, Caller, caller
from web.access.credentials import address, given_key, verify
from web.access.exposure import is_loopback, is_open
from web.access.proxy import DECLARED, FORWARDING
from web.access.sessions import by_session, check_csrf, current_session
from web.services import connected, cors, known_keys, known_sessions, rate_limits

PUBLIC = {
    "health.healthz",
    "health.readyz",
    "pages.index",
    "openapi.document",
    "openapi.page",
    "static",
    "session.create",
    "session.remove",
}
ADMIN = {"models"}  # blueprints whose changes affect every tenant
ADMIN_READS = {"reviews", "rollouts", "training"}  # blueprints that show the data of every tenant
ANY_SCOPE = {"sessions"}  # blueprints that any valid key may use, for its own sessions
SAFE = {"GET", "HEAD", "OPTIONS"}
OWN_SITE = {"same-origin", "none"}  # values of `Sec-Fetch-Site`; none: the user, not a page, made the request
PORT = re.compile(r":\d+$")


def authenticate() -> None:
    """Set `caller()` for all but the public routes. Raises Problem unless the request may continue."""
    if is_open(connected().settings):
        _check_local()
    if request.endpoint in PUBLIC:
        return
    g.caller = _caller()
    scope = _scope()
    if request.blueprint not in ANY_SCOPE and not caller().may(scope):
        raise Problem("forbidden", f"The key lacks the scope {scope}.")
    if request.method in SAFE:
        return
    rate_limits().take(caller(), address())
    g.counted = 1


def count_images(images: int) -> None:
    """Count several images against the rate limit; `authenticate` has already counted one."""
    rate_limits().take(caller(), address(), images, g.pop("counted", 0))


def count_read(items: int) -> None:
    """Count a GET that names `items` jobs against the rate limit."""
    rate_limits().take(caller(), address(), items)


def most_images() -> int:
    """Return the most images that the rate limits allow in one request."""
    return rate_limits().most(caller(), address())


def still_authorized() -> Callable[[], bool]:
    """Return a function that checks whether the caller's key and session are still valid.

    A stream calls it after the request's context has ended.
    """
    key_id, keys, sessions = caller().key_id, known_keys(), known_sessions()
    session = found.session if (found := g.get("session")) else None

    def valid() -> bool:
        try:
            if session and session.key_id and not sessions.active(session.digest, use=False):
                return False
            return not key_id or keys.valid(key_id) is not None
        except Unavailable:
            return False

    return valid


def check_origin() -> None:
    """Raise Problem if a page of another origin sent this request, unless CORS_ORIGINS names it.

    Browsers set `Sec-Fetch-Site`, and no page can change it. Older browsers send only `Origin`.
    """
    origin = request.headers.get("Origin")
    if cors().trusts(origin, by_cookie=not is_open(connected().settings)):
        return
    foreign = origin is not None and origin.partition("://")[2] != request.host
    if foreign or request.headers.get("Sec-Fetch-Site", "none") not in OWN_SITE:
        raise Problem("forbidden", "The request comes from a page of another origin.")


def _caller() -> Caller:
    if (text := given_key()) is not None:
        return Caller.by_key(verify(text))
    if (found := by_session()) and (session := current_session()):
        if request.method not in SAFE:
            check_origin()
            check_csrf(session)
        return found
    if is_open(connected().settings):
        return LOCAL
    raise Problem("unauthorized", "Send `Authorization: Bearer seg_…`.")


def _scope() -> Scope:
    if request.blueprint in ADMIN_READS:
        return Scope.ADMIN
    if request.method in SAFE:
        return Scope.READ
    return Scope.ADMIN if request.blueprint in ADMIN else Scope.SUBMIT


def _check_local() -> None:
    """Raise Problem unless an open server's request comes from this machine and from our own page.

    Any page in a local browser can send requests here; with DNS rebinding it can also read the
    responses. A proxy on this machine would admit all of its clients.
    """
    if not request.environ.get(DECLARED) and any(name in request.headers for name in FORWARDING):
        raise Problem("forbidden", "This passed a proxy: declare it with TRUSTED_PROXY, or set REQUIRE_KEYS=1.")
    if not is_loopback(PORT.sub("", request.host)) or not is_loopback(address()):
        raise Problem("forbidden", "Without a key, only this machine may call. Behind a proxy, set REQUIRE_KEYS=1.")
    if request.method not in SAFE:
        check_origin()
