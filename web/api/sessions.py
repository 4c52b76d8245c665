"""List and end the sessions of the caller's key; an admin those of any tenant."""

import re
from typing import Any

from flask import Blueprint, Response, jsonify, request

from storage.problems import Problem
from storage.records.api_key import Scope
from storage.records.audit_event import Action
from storage.records.session import Session
from web.access.auditing import event, note
from web.access.caller import caller
from web.access.sessions import current_session, drop_cookies, end
from web.documents import timestamp
from web.services import connected, known_sessions
from web.sql_timeout import within_timeout

SESSION_ID = re.compile(r"ses_[0-9a-f]{32}")
TENANT = re.compile(r"[a-z0-9_-]{1,64}")

blueprint = Blueprint("sessions", __name__, url_prefix="/sessions")


@blueprint.get("")
def listing() -> Response:
    """List the open sessions of the caller's key, last used first; for an admin, those of `tenant`."""
    if tenant := _tenant():
        note(Action.SESSIONS_READ, tenant)
        found = within_timeout(lambda: connected().sessions.of_tenant(tenant))
    else:
        found = _own()
    return jsonify(object="list", data=[_document(session) for session in found])


@blueprint.delete("")
def remove_all() -> Response:
    """End all sessions of the caller's key, this one included; for an admin, those of `tenant`."""
    key_id, by = caller().key_id, event(Action.SESSION_ENDED, detail="all")
    if tenant := _tenant():
        by = event(Action.SESSION_ENDED, tenant, "all of the tenant")
        within_timeout(lambda: connected().sessions.end_tenant(tenant, by))
    elif key_id:
        within_timeout(lambda: connected().sessions.end_key(key_id, by))
    elif current := current_session():
        end(current)
    _forget_own(tenant)
    return Response(status=204)


@blueprint.delete("/<session_id>")
def remove(session_id: str) -> Response:
    """End one session of the caller's key."""
    current, key_id = current_session(), caller().key_id
    if current and current.session.id == session_id:
        end(current)
        drop_cookies()
    elif (
        not key_id
        or not SESSION_ID.fullmatch(session_id)
        or not within_timeout(
            lambda: connected().sessions.end_one(session_id, key_id, event(Action.SESSION_ENDED, session_id))
        )
    ):
        raise Problem("not_found", "No session has this id.")
    return Response(status=204)


def _own() -> list[Session]:
    if key_id := caller().key_id:
        return within_timeout(lambda: connected().sessions.of_key(key_id))
    current = current_session()
    return [current.session] if current else []


def _forget_own(tenant: str) -> None:
    current = current_session()
    if current and tenant in ("", current.session.tenant):
        known_sessions().drop(current.session.digest)
        drop_cookies()


def _tenant() -> str:
    """Return `?tenant=`, empty without it. Raises Problem unless an admin sends a valid name."""
    tenant = request.args.get("tenant", "")
    if tenant and not caller().may(Scope.ADMIN):
        raise Problem("forbidden", "Another tenant's sessions need the scope admin.")
    if tenant and not TENANT.fullmatch(tenant):
        raise Problem("invalid_request", "tenant: the name of a tenant.")
    return tenant


def _document(session: Session) -> dict[str, Any]:
    current = current_session()
    return {
        "id": session.id,
        "object": "session",
        "tenant": session.tenant,
        "current": bool(current and current.session.id == session.id),
        "created_at": timestamp(session.created_ms),
        "last_used_at": timestamp(session.seen_ms),
        "expires_at": timestamp(session.expires_ms),
        "agent": session.agent,
    }
