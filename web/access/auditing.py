"""Audit events of the current request."""

from flask import g, request

from storage.records.audit_event import Action, Event
from web.access.caller import Caller
from web.access.rate_limits import network
from web.services import journal


def event(action: Action, target: str = "", detail: str = "") -> Event:
    """Return an event with the caller, if authenticated, and the network of its address."""
    caller: Caller | None = g.get("caller")
    tenant, key_id = (caller.tenant, caller.key_id) if caller else ("", "")
    return Event(action, tenant, key_id, network(request.remote_addr or ""), target, detail)


def note(action: Action, target: str = "", detail: str = "") -> None:
    journal().note(event(action, target, detail))


def note_refusal(status: int) -> None:
    if status == 403:
        note(Action.REQUEST_REFUSED, f"{request.method} {request.endpoint or 'unknown'}")
