"""Sessions by cookie: for a key with a row in the database, for an anonymous tenant signed (docs/decisions/0024)."""

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
from web.access.credentials import address, used
from web.access.rate_limits import network
from web.services import connected, known_keys, known_sessions, rate_limits, signer
from web.sql_timeout import answered

SESSION_COOKIE, CSRF_COOKIE, CSRF_HEADER = "segue_session", "segue_csrf", "X-CSRF-Token"
HOST_ONLY = "__Host-"  # the browser takes such a cookie over https only, for this host and every path
LONGEST_AGENT = 120


@dataclass(frozen=True)
class Held:
    """The session whose token the request's cookie holds, and the caller that it stands for."""

    session: Session
    caller: Caller
    token: str

    @property
    def csrf(self) -> str:
        """What a change has to bring besides the cookie: it follows from the token, which does not follow from it."""
        return token_digest(f"csrf {self.token}")


def cookie_name(name: str) -> str:
    return f"{HOST_ONLY}{name}" if request.is_secure else name


def has_cookie() -> bool:
    return cookie_name(SESSION_COOKIE) in request.cookies


def held() -> Held | None:
    """None without a cookie, and for a session that has ended. Raises Unavailable."""
    if "held" not in g:
        token = request.cookies.get(cookie_name(SESSION_COOKIE), "")
        g.held = _anonymous(token) if "." in token else _of_key(token) if token else None
    found: Held | None = g.held
    return found


def by_session() -> Caller | None:
    """The caller of the request's session, None without a cookie. Raises Problem for a session that has ended."""
    if not has_cookie():
        return None
    if found := held():
        return found.caller
    drop_cookies()
    raise Problem("unauthorized", "The session has ended.")


def _of_key(token: str) -> Held | None:
    digest = token_digest(token)
    if not known_sessions().knows(digest):
        rate_limits().check_failures(address())  # before the database is asked
    session = known_sessions().active(digest)
    key = known_keys().valid(session.key_id) if session else None
    if session is None or key is None or not key.carries(session.created_ms, now_ms()):
        note(Action.AUTH_FAILED, session.id if session else "", "session")
        rate_limits().take_failure(address())
        return None
    return Held(session, Caller.by_key(used(key)), token)


def _anonymous(token: str) -> Held | None:
    settings = connected().settings
    if not settings.public_page:
        return None
    try:
        tenant, begun = signer().loads(token, max_age=settings.session_s, return_timestamp=True)
    except BadSignature:
        return None
    began = int(begun.timestamp() * 1000)
    session = _session(f"ses_{tenant.removeprefix(ANONYMOUS)}", token_digest(tenant), tenant, "", began)
    if known_sessions().ended(session.digest):
        return None
    return Held(session, Caller.by_anonymous_session(tenant), token)


def begin_for_key(key: ApiKey) -> None:
    """A new token at every sign-in; the session that the browser had before ends."""
    if before := held():
        end(before)
    token = secrets.token_urlsafe(32)
    session = _session(new_session_id(), token_digest(token), key.tenant, key.id, now_ms())
    answered(lambda: connected().sessions.begin(session, network(address())))
    _give(Held(session, Caller.by_key(key), token))


def begin_anonymous() -> None:
    """It needs no database, and so no outage keeps a visitor of a public page away."""
    tenant = f"{ANONYMOUS}{secrets.token_hex(16)}"
    token = signer().dumps(tenant)
    session = _session("", token_digest(tenant), tenant, "", now_ms())
    _give(Held(session, Caller.by_anonymous_session(tenant), token))


def _session(session_id: str, digest: str, tenant: str, key_id: str, began_ms: int) -> Session:
    expires_ms = began_ms + connected().settings.session_s * 1000
    agent = "".join(filter(str.isprintable, request.user_agent.string))[:LONGEST_AGENT]
    return Session(session_id, digest, tenant, key_id, began_ms, began_ms, expires_ms, agent=agent)


def end(found: Held) -> None:
    """On the server: the same cookie, sent again, is refused. Raises Unavailable."""
    session, sessions = found.session, connected().sessions
    by = event(Action.SESSION_ENDED, session.id)
    if session.key_id:
        answered(lambda: sessions.end_one(session.id, session.key_id, by))
    else:
        answered(lambda: sessions.end_unstored(session, by))
    known_sessions().drop(session.digest)


def check_csrf(found: Held) -> None:
    """Raises Problem unless the sender of the session's cookie can also read the other one."""
    sent = request.headers.get(CSRF_HEADER, "")
    if not hmac.compare_digest(sent.encode(), found.csrf.encode()):
        raise Problem("forbidden", f"Send the cookie {cookie_name(CSRF_COOKIE)} as {CSRF_HEADER} too.")


def _give(found: Held) -> None:
    g.held = found

    @after_this_request
    def with_cookies(response: Response) -> Response:
        _set(response, SESSION_COOKIE, found.token, httponly=True)
        return response

    give_csrf(found)


def give_csrf(found: Held) -> None:
    """Readable by our own page only, which proves by it that a request is its own."""

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
