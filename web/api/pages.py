"""The page: one file of HTML, one of JavaScript, one of CSS, no build step."""

from flask import Blueprint, render_template

from storage.problems import Unavailable
from web.access.exposure import is_open
from web.access.sessions import Held, drop_cookies, has_cookie, held
from web.services import connected

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def index() -> str:
    """`entry`: `open` just works, `public` begins a session of its own first, `key` asks for one."""
    settings, found = connected().settings, _held()
    signed_in = found is not None and not found.caller.anonymous
    entry = "open" if signed_in or is_open(settings) else "public" if settings.public_page else "key"
    return render_template("index.html", entry=entry, signed_in=signed_in)


def _held() -> Held | None:
    """Drops the cookie of a session that has ended: every request with it would be refused."""
    try:
        found = held()
    except Unavailable:
        return None
    if has_cookie() and found is None:
        drop_cookies()
    return found
