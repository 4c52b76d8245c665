"""From the header `Authorization` to the API key that it holds."""

from flask import request

from storage.clock import now_ms
from storage.problems import Problem
from storage.records.api_key import ApiKey, key_id
from storage.records.audit_event import Action
from web.access.auditing import note
from web.services import journal, known_keys, rate_limits

USED_MS = 30 * 60 * 1000  # how exactly the last use of a key is noted


def given_key() -> str | None:
    """The bearer token of `Authorization`, None without one. Raises Problem for any other scheme."""
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
    known = known_keys().knows(public)
    if not known:
        rate_limits().check_failures(address())  # before the database is asked
    key = known_keys().valid(public)
    if known and key and not key.matches(text, now_ms()):
        rate_limits().check_failures(address())
        known_keys().drop(public)  # its secret may have been rotated since
        key = known_keys().valid(public)
    if key is None or not key.matches(text, now_ms()):
        raise _invalid("The API key is not valid.", public)
    return used(key)


def used(key: ApiKey) -> ApiKey:
    """Note its use, now and then."""
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
