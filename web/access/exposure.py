"""Who can reach this server, and whether its settings allow that."""

import ipaddress

from storage.connection import connect
from storage.problems import Outage, Unavailable
from storage.settings import Settings
from web import cors
from web.access.proxy import is_path, networks

SHORTEST_SECRET = 32


def is_open(settings: Settings) -> bool:
    """Return whether the server requires no keys: loopback only, no REQUIRE_KEYS, no PUBLIC_PAGE."""
    return is_loopback(settings.bind) and not settings.require_keys and not settings.public_page


def is_loopback(name: str) -> bool:
    """Accept `localhost`, 127.0.0.0/8 and ::1, also in brackets as in a URL."""
    bare = name.removeprefix("[").removesuffix("]").lower()
    try:
        return bare == "localhost" or ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


def refusal(settings: Settings) -> str:
    """Return why a server with these settings must not start, in one sentence; empty if it may."""
    if (reason := _malformed(settings)) or is_open(settings):
        return reason
    if len(settings.session_secret.get_secret_value()) < SHORTEST_SECRET:
        return (
            f"SESSION_SECRET must have at least {SHORTEST_SECRET} random characters with REQUIRE_KEYS, PUBLIC_PAGE "
            "or a BIND that is not loopback."
        )
    if is_loopback(settings.bind) or settings.public_page:
        return ""
    return _without_keys(settings)


def _malformed(settings: Settings) -> str:
    try:
        networks(settings.trusted_proxy)
    except ValueError as error:
        return f"TRUSTED_PROXY: {error}."
    if settings.root_path and not is_path(settings.root_path.removesuffix("/")):
        return "ROOT_PATH: a path such as /segue."
    return cors.refusal(settings, is_open(settings))


def _without_keys(settings: Settings) -> str:
    """Return "" during an outage, too: such a server serves no caller until it has read the keys."""
    connection = connect(settings)
    try:
        if connection.api_keys.any_valid():
            return ""
        return f"BIND={settings.bind} lets others call, and there is no API key: `segue keys create` makes one."
    except Outage:
        return ""
    except Unavailable as error:
        return (
            f"BIND={settings.bind} lets others call, and the API keys cannot be read ({error}): `segue setup`, SQL_URL."
        )
    finally:
        connection.close()  # gunicorn forks next, and processes must not share a connection
