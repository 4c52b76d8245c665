"""From a credential to the caller: an API key, or a session that stands for one."""

import hashlib
import hmac
import secrets

from flask import Flask, Response, after_this_request, current_app, request, session
from flask.sessions import SecureCookieSessionInterface

from storage.problems import Problem
from storage.records.api_key import ANONYMOUS, ApiKey, key_id
from web.access.caller import Caller
from web.services import connected, known_keys, rate_limits

SESSION_COOKIE, CSRF_COOKIE, CSRF_HEADER = "segue_session", "segue_csrf", "X-CSRF-Token"
# What a signed session holds.
KEY_ID, TENANT, CSRF = "key", "tenant", "csrf"


class Sessions(SecureCookieSessionInterface):
    """Flask's, signed with SHA-256; over https the cookie never goes without it."""

    digest_method = staticmethod(hashlib.sha256)

    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002
        return request.is_secure


def given_key() -> str | None:
    """What stands in `Authorization`, None without one. Raises Problem for anything but a bearer token."""
    header = request.headers.get("Authorization")
    if header is None:
        return None
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "bearer":
        raise _invalid("Send `Authorization: Bearer seg_…`.")
    return text.strip()


def verified(text: str) -> ApiKey:
    """The valid key that this is. Raises Problem; Unavailable for a new one while the database does not answer."""
    public = key_id(text)
    if public is None:
        raise _invalid("This is no API key.")
    if not known_keys().knows(public):
        rate_limits().check_failures(address())  # before the database is asked
    key = known_keys().valid(public)
    if key is None or not key.matches(text):
        raise _invalid("The API key is not valid.")
    return key


def _invalid(detail: str) -> Problem:
    rate_limits().take_failure(address())
    return Problem("unauthorized", detail)


def address() -> str:
    return request.remote_addr or ""


def by_session() -> Caller | None:
    """Whom the request's session stands for, None without one. Raises Problem for one that is not valid any more."""
    if SESSION_COOKIE not in request.cookies:
        return None
    if key := known_keys().valid(session[KEY_ID]) if KEY_ID in session else None:
        return Caller.by_key(key)
    if TENANT in session and connected().settings.public_page:
        return Caller.by_anonymous_session(session[TENANT])
    end_session()
    raise Problem("unauthorized", "The session has ended.")


def begin_session(key: ApiKey | None) -> None:
    """For a key, of which only the public part is kept; or for somebody new."""
    session.clear()
    session.permanent = True
    session.update({KEY_ID: key.id} if key else {TENANT: f"{ANONYMOUS}{secrets.token_hex(16)}"})
    session[CSRF] = secrets.token_urlsafe(32)
    tell_csrf()


def tell_csrf() -> None:
    """Gives the page of a session what it has to send with each change."""
    after_this_request(_with_csrf_cookie)


def _with_csrf_cookie(response: Response) -> Response:
    """Readable by our page only, which says by it that the request is its own."""
    response.set_cookie(
        CSRF_COOKIE,
        session[CSRF],
        max_age=current_app.permanent_session_lifetime,
        secure=request.is_secure,
        samesite="Strict",
    )
    return response


def end_session() -> None:
    session.clear()
    after_this_request(_without_csrf_cookie)


def _without_csrf_cookie(response: Response) -> Response:
    response.delete_cookie(CSRF_COOKIE, secure=request.is_secure, samesite="Strict")
    return response


def check_csrf() -> None:
    """Raises Problem unless whoever sends the session's cookie can also read the other one."""
    sent = request.headers.get(CSRF_HEADER, "")
    if not hmac.compare_digest(sent.encode(), str(session.get(CSRF, "")).encode()) or not sent:
        raise Problem("forbidden", f"Send the cookie {CSRF_COOKIE} as {CSRF_HEADER} too.")
