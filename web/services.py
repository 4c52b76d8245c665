"""What a request handler reaches for: this app's storage, its waiting room, the keys it knows, the limits."""

from flask import current_app

from storage.connection import Storage
from web.access.known_keys import KnownKeys
from web.access.rate_limits import RateLimits
from web.admission import Admission
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


def known_keys() -> KnownKeys:
    keys: KnownKeys = current_app.extensions["known_keys"]
    return keys


def rate_limits() -> RateLimits:
    limits: RateLimits = current_app.extensions["rate_limits"]
    return limits
