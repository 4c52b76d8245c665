"""The page: one file of HTML, one of JavaScript, one of CSS, no build step."""

from flask import Blueprint, render_template, request, session

from web.access.credentials import KEY_ID, SESSION_COOKIE, TENANT, end_session
from web.access.exposure import is_open
from web.services import connected

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def index() -> str:
    """`entry`: `open` just works, `public` begins a session of its own first, `key` asks for one."""
    settings, signed_in = connected().settings, KEY_ID in session
    anonymous = TENANT in session and settings.public_page
    if SESSION_COOKIE in request.cookies and not signed_in and not anonymous:
        end_session()  # too old, or of other settings: every request with it would be refused
    entry = "open" if signed_in or is_open(settings) else "public" if settings.public_page else "key"
    return render_template("index.html", entry=entry, signed_in=signed_in)
