"""Cookie sessions (docs/decisions/0024).

The session of a key has a row in the database. That of an anonymous tenant is a signed token.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from flask import Response, after_this_request, g, request
from itsdangerous import BadSignature, URLSafeTimedSerializer

from storage.clock import now_ms
from storage.keys import new_session_id
from storage.problems import Problem
from storage.records.api_key import ANONYMOUS, ApiKey
from storage.records.audit_event import Action
from storage.records.session import Session, token_digest
from web.access.auditing import event, note
from web.access.caller import Caller
from web.access.credentials import address, record_use
from web.access.rate_limits import network
from web.services import connected, known_keys, known_sessions, rate_limits, signer
from web.sql_timeout import within_timeout

SESSION_COOKIE, CSRF_COOKIE, CSRF_HEADER = "segue_session", "segue_csrf", "X-CSRF-Token"
HOST_ONLY = "__Host-"  # browsers accept such a cookie only over https, for this host and all paths
LONGEST_AGENT = 120


@dataclass(frozen=True)
class CookieSession:
    """The session of the request's cookie, and the caller that it authenticates."""

    session: Session
    caller: Caller
    token: str

    @property
    def csrf(self) -> str:
        """The CSRF token that a change must send besides the cookie: a one-way digest of `token`."""
        return token_digest(f"csrf {self.token}")


def cookie_name(name: str) -> str:
    return f"{HOST_ONLY}{name}" if request.is_secure else name


def has_cookie() -> bool:
    return cookie_name(SESSION_COOKIE) in request.cookies


def current_session() -> CookieSession | None:
    """Return the request's session; None without a cookie or if it has ended. Raises Unavailable."""
    if "session" not in g:
        token = request.cookies.get(cookie_name(SESSION_COOKIE), "")
        g.session = _anonymous(token) if "." in token else _of_key(token) if token else None
    found: CookieSession | None = g.session
    return found


def by_session() -> Caller | None:
    """Return the caller of the request's session, None without a cookie.

    Raises Problem and drops the cookies if the session has ended.
    """
    if not has_cookie():
        return None
    if found := current_session():
        return found.caller
    drop_cookies()
    raise Problem("unauthorized", "The session has ended.")


def _of_key(token: str) -> CookieSession | None:
    digest = token_digest(token)
    if not known_sessions().knows(digest):
        rate_limits().check_failures(address())  # before the database query
    session = known_sessions().active(digest)
    key = known_keys().valid(session.key_id) if session else None
    if session is None or key is None or not key.carries(session.created_ms, now_ms()):
        note(Action.AUTH_FAILED, session.id if session else "", "session")
        rate_limits().take_failure(address())
        return None
    return CookieSession(session, Caller.by_key(record_use(key)), token)


def _anonymous(token: str) -> CookieSession | None:
    settings = connected().settings
    if not settings.public_page:
        return None
    try:
        tenant, begun = signer().loads(token.removeprefix(_shard()), max_age=settings.session_s, return_timestamp=True)
    except BadSignature:
        return None
    began = int(begun.timestamp() * 1000)
    session = _session(f"ses_{tenant.removeprefix(ANONYMOUS)}", token_digest(tenant), tenant, "", began)
    if known_sessions().ended(session.digest):
        return None
    return CookieSession(session, Caller.by_anonymous_session(tenant), token)


def begin_for_key(key: ApiKey) -> None:
    """Begin a session with a new token, and end the browser's previous session."""
    if before := current_session():
        end(before)
    token = f"{_shard()}{secrets.token_urlsafe(32)}"
    session = _session(new_session_id(), token_digest(token), key.tenant, key.id, now_ms())
    within_timeout(lambda: connected().sessions.begin(session, network(address())))
    _give(CookieSession(session, Caller.by_key(key), token))


def begin_anonymous() -> None:
    """Begin a session for a new anonymous tenant.

    It needs no database, so a public page works during an outage.
    """
    tenant = f"{ANONYMOUS}{secrets.token_hex(16)}"
    token = f"{_shard()}{signer().dumps(tenant)}"
    session = _session("", token_digest(tenant), tenant, "", now_ms())
    _give(CookieSession(session, Caller.by_anonymous_session(tenant), token))


def _shard() -> str:
    """Return what a new token begins with: `SHARD~`, for the load balancer; empty without SHARD."""
    shard = connected().settings.shard
    return f"{shard}~" if shard else ""


def _session(session_id: str, digest: str, tenant: str, key_id: str, began_ms: int) -> Session:
    expires_ms = began_ms + connected().settings.session_s * 1000
    agent = "".join(filter(str.isprintable, request.user_agent.string))[:LONGEST_AGENT]
    return Session(session_id, digest, tenant, key_id, began_ms, began_ms, expires_ms, agent=agent)


def end(found: CookieSession) -> None:
    """End the session on the server, which then refuses its cookie. Raises Unavailable."""
    session, sessions = found.session, connected().sessions
    by = event(Action.SESSION_ENDED, session.id)
    if session.key_id:
        within_timeout(lambda: sessions.end_one(session.id, session.key_id, by))
    else:
        within_timeout(lambda: sessions.end_unstored(session, by))
    known_sessions().drop(session.digest)


def check_csrf(found: CookieSession) -> None:
    """Raise Problem unless the request repeats the CSRF cookie's value in its header."""
    sent = request.headers.get(CSRF_HEADER, "")
    if not hmac.compare_digest(sent.encode(), found.csrf.encode()):
        raise Problem("forbidden", f"Send the cookie {cookie_name(CSRF_COOKIE)} as {CSRF_HEADER} too.")


def _give(found: CookieSession) -> None:
    g.session = found

    @after_this_request
    def with_cookies(response: Response) -> Response:
        _set(response, SESSION_COOKIE, found.token, httponly=True)
        return response

    give_csrf(found)


def give_csrf(found: CookieSession) -> None:
    """Set the CSRF cookie. Only our own page can read it, and so prove that a request is its own."""

    @after_this_request
    def with_csrf(response: Response) -> Response:
        _set(response, CSRF_COOKIE, found.csrf, httponly=False)
        return response


def _set(response: Response, name: str, value: str, httponly: bool) -> None:
    how = {"secure": request.is_secure, "httponly": httponly, "samesite": "Strict"}
    response.set_cookie(cookie_name(name), value, max_age=connected().settings.session_s, **how)  # type: ignore[arg-type]


def drop_cookies() -> None:
    @after_this_request
    def without(response: Response) -> Response:
        for name in (SESSION_COOKIE, CSRF_COOKIE):
            response.delete_cookie(cookie_name(name), secure=request.is_secure, samesite="Strict")
        if request.is_secure:
            response.headers["Clear-Site-Data"] = '"cache", "storage"'
        return response


def make_signer(secret: str) -> URLSafeTimedSerializer:
    how = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
    return URLSafeTimedSerializer(secret, salt="anonymous session", signer_kwargs=how)
