"""Accessors for the services that `web/app.py` attaches to the current Flask app."""

from flask import current_app
from itsdangerous import URLSafeTimedSerializer

from storage.connection import Storage
from web.access.journal import Journal
from web.access.key_database import KeyDatabase
from web.access.known_keys import KnownKeys
from web.access.known_sessions import KnownSessions
from web.access.rate_limits import RateLimits
from web.admission import Admission
from web.cors import Cors
from web.http.gate import Gate
from web.rendering.turns import Turns
from web.upload_turns import UploadTurns
from web.waiting import Waiting


def connected() -> Storage:
    storage: Storage = current_app.extensions["storage"]
    return storage


def waiting() -> Waiting:
    found: Waiting = current_app.extensions["waiting"]
    return found


def admission() -> Admission:
    found: Admission = current_app.extensions["admission"]
    return found


def cors() -> Cors:
    rules: Cors = current_app.extensions["cors"]
    return rules


def key_database() -> KeyDatabase:
    database: KeyDatabase = current_app.extensions["key_database"]
    return database


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
    """Signs and verifies the tokens of anonymous sessions."""
    found: URLSafeTimedSerializer = current_app.extensions["signer"]
    return found


def rate_limits() -> RateLimits:
    limits: RateLimits = current_app.extensions["rate_limits"]
    return limits


def turns() -> Turns:
    found: Turns = current_app.extensions["turns"]
    return found


def upload_turns() -> UploadTurns:
    found: UploadTurns = current_app.extensions["upload_turns"]
    return found


def gate() -> Gate:
    found: Gate = current_app.extensions["gate"]
    return found
