"""The page: one file of HTML, one of JavaScript, one of CSS, no build step."""

from flask import Blueprint, render_template, request, session

from web.connection import connected
from web.credentials import KEY_ID, SESSION_COOKIE, end_session
from web.exposure import is_open

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def index() -> str:
    """It asks for a key, begins a session of its own, or just works, as `data-entry` says."""
    settings = connected().settings
    if SESSION_COOKIE in request.cookies and not session:
        end_session()  # signed by another secret, or too old: every request with it would be refused
    entry = "open" if session or is_open(settings) else "public" if settings.public_page else "key"
    return render_template("index.html", entry=entry, signed_in=KEY_ID in session)
