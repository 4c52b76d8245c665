"""What a request handler reaches for: this app's storage, its waiting room, the keys it knows, the limits."""

from flask import current_app
from itsdangerous import URLSafeTimedSerializer

from storage.connection import Storage
from web.access.journal import Journal
from web.access.known_keys import KnownKeys
from web.access.known_sessions import KnownSessions
from web.access.rate_limits import RateLimits
from web.admission import Admission
from web.cors import Cors
from web.http.gate import Gate
from web.rendering.turns import Turns
from web.waiting import Waiting


def connected() -> Storage:
    connection: Storage = current_app.extensions["storage"]
    return connection


def waiting() -> Waiting:
    room: Waiting = current_app.extensions["waiting"]
    return room


def admission() -> Admission:
    door: Admission = current_app.extensions["admission"]
    return door


def cors() -> Cors:
    rules: Cors = current_app.extensions["cors"]
    return rules


def known_keys() -> KnownKeys:
    keys: KnownKeys = current_app.extensions["known_keys"]
    return keys


def known_sessions() -> KnownSessions:
    sessions: KnownSessions = current_app.extensions["known_sessions"]
    return sessions


def journal() -> Journal:
    found: Journal = current_app.extensions["journal"]
    return found


def signer() -> URLSafeTimedSerializer:
    """Of anonymous sessions."""
    found: URLSafeTimedSerializer = current_app.extensions["signer"]
    return found


def rate_limits() -> RateLimits:
    limits: RateLimits = current_app.extensions["rate_limits"]
    return limits


def turns() -> Turns:
    taken: Turns = current_app.extensions["turns"]
    return taken


def gate() -> Gate:
    bodies: Gate = current_app.extensions["gate"]
    return bodies
