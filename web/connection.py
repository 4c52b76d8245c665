"""What a request handler reaches for: this app's storage and its waiting room."""

from flask import current_app

from storage import Storage
from web.waiting import Waiting

LOCAL_TENANT = "local"  # everybody, as long as there are no keys


def connected() -> Storage:
    connection: Storage = current_app.extensions["storage"]
    return connection


def waiting() -> Waiting:
    room: Waiting = current_app.extensions["waiting"]
    return room
