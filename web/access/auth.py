"""Before each request: who calls, and whether they may. A route that is not named here needs a credential."""

import re
from collections.abc import Callable

from flask import g, request

from storage.problems import Problem, Unavailable
from storage.records.api_key import Scope
from web.access.caller import LOCAL, Caller, caller
from web.access.credentials import address, given_key, verified
from web.access.exposure import is_loopback, is_open
from web.access.proxy import DECLARED, FORWARDING
from web.access.sessions import by_session, check_csrf, held
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
ADMIN = {"models"}  # blueprints: what is changed there concerns everybody
ANY_SCOPE = {"sessions"}  # blueprints: a key's own sessions
SAFE = {"GET", "HEAD", "OPTIONS"}
OWN_SITE = {"same-origin", "none"}  # of `Sec-Fetch-Site`; none: the user's own doing, not a page's
PORT = re.compile(r":\d+$")


def authenticate() -> None:
    """Raises Problem unless this request may go on; then `caller()` is who makes it."""
    if is_open(connected().settings):
        _check_neighbour()
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
    """For a request that brings several images. One was counted before the body was read."""
    rate_limits().take(caller(), address(), images, g.pop("counted", 0))


def count_read(items: int) -> None:
    """For a GET that reads as many jobs as it names."""
    rate_limits().take(caller(), address(), items)


def most_images() -> int:
    """How many one request may bring at most."""
    return rate_limits().most(caller(), address())


def goes_on() -> Callable[[], bool]:
    """For an answer that lasts: whether its caller's key and session are still valid, also outside of the request."""
    key_id, keys, sessions = caller().key_id, known_keys(), known_sessions()
    session = found.session if (found := g.get("held")) else None

    def valid() -> bool:
        try:
            if session and session.key_id and not sessions.active(session.digest, use=False):
                return False
            return not key_id or keys.valid(key_id) is not None
        except Unavailable:
            return False

    return valid


def check_origin() -> None:
    """Raises Problem for a request that a page of another origin made the browser send, unless CORS_ORIGINS names it.

    `Sec-Fetch-Site` is the browser's own word, which no page can change; older browsers send `Origin` only.
    """
    origin = request.headers.get("Origin")
    if cors().trusts(origin, by_cookie=not is_open(connected().settings)):
        return
    foreign = origin is not None and origin.partition("://")[2] != request.host
    if foreign or request.headers.get("Sec-Fetch-Site", "none") not in OWN_SITE:
        raise Problem("forbidden", "The request comes from a page of another origin.")


def _caller() -> Caller:
    if (text := given_key()) is not None:
        return Caller.by_key(verified(text))
    if (found := by_session()) and (session := held()):
        if request.method not in SAFE:
            check_origin()
            check_csrf(session)
        return found
    if is_open(connected().settings):
        return LOCAL
    raise Problem("unauthorized", "Send `Authorization: Bearer seg_…`.")


def _scope() -> Scope:
    if request.method in SAFE:
        return Scope.READ
    return Scope.ADMIN if request.blueprint in ADMIN else Scope.SUBMIT


def _check_neighbour() -> None:
    """An open web is for this machine. Any page that one looks at can send requests here, or give its own name this
    machine's address and then read the answers too. A proxy on this machine would let in all of its clients.
    """
    if not request.environ.get(DECLARED) and any(name in request.headers for name in FORWARDING):
        raise Problem("forbidden", "This passed a proxy: declare it with TRUSTED_PROXY, or set REQUIRE_KEYS=1.")
    if not is_loopback(PORT.sub("", request.host)) or not is_loopback(address()):
        raise Problem("forbidden", "Without a key, only this machine may call. Behind a proxy, set REQUIRE_KEYS=1.")
    if request.method not in SAFE:
        check_origin()
