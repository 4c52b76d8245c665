"""The web page: one HTML, one JavaScript and one CSS file, without a build step."""

from flask import Blueprint, render_template

from storage.problems import Unavailable
from web.access.exposure import is_open
from web.access.sessions import CookieSession, current_session, drop_cookies, has_cookie
from web.services import connected

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def index() -> str:
    """Serve the page. `entry`: `open` needs no session, `public` begins one, `key` asks for a key."""
    settings, found = connected().settings, _current_session()
    signed_in = found is not None and not found.caller.anonymous
    entry = "open" if signed_in or is_open(settings) else "public" if settings.public_page else "key"
    return render_template("index.html", entry=entry, signed_in=signed_in)


def _current_session() -> CookieSession | None:
    """Return the session. Drop the cookies of one that has ended: requests with them are refused."""
    try:
        found = current_session()
    except Unavailable:
        return None
    if has_cookie() and found is None:
        drop_cookies()
    return found
