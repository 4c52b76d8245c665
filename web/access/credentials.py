"""Read and verify the API key in the `Authorization` header."""

from flask import request

from storage.clock import now_ms
from storage.problems import Problem
from storage.records.api_key import ApiKey, key_id
from storage.records.audit_event import Action
from web.access.auditing import note
from web.services import journal, known_keys, rate_limits

USED_MS = 30 * 60 * 1000  # the resolution of a key's recorded last use


def given_key() -> str | None:
    """Return the bearer token, None without `Authorization`. Raises Problem for any other scheme."""
    header = request.headers.get("Authorization")
    if header is None:
        return None
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "bearer":
        raise _invalid("Send `Authorization: Bearer seg_…`.")
    return text.strip()


def verify(text: str) -> ApiKey:
    """Return the valid API key for `text` and record its use.

    A failure counts against the address's rate limit. Raises Problem; raises Unavailable if this
    process does not know the key and the database does not respond.
    """
    public = key_id(text)
    if public is None:
        raise _invalid("This is not an API key.")
    known = known_keys().knows(public)
    if not known:
        rate_limits().check_failures(address())  # before the database query
    key = known_keys().valid(public)
    if known and key and not key.matches(text, now_ms()):
        rate_limits().check_failures(address())
        known_keys().drop(public)  # the secret may have been rotated: read it again
        key = known_keys().valid(public)
    if key is None or not key.matches(text, now_ms()):
        raise _invalid("The API key is not valid.", public)
    return record_use(key)


def record_use(key: ApiKey) -> ApiKey:
    """Record the key's last use, at most once per USED_MS; return the key."""
    now = now_ms()
    if now - key.last_used_ms > USED_MS:
        journal().use_key(key.id, now)
    return key


def address() -> str:
    return request.remote_addr or ""


def _invalid(detail: str, public: str = "") -> Problem:
    note(Action.AUTH_FAILED, public, "key")
    rate_limits().take_failure(address())
    return Problem("unauthorized", detail)
