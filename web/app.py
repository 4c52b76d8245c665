"""Composition root of the web side: `gunicorn -c deploy/gunicorn.py 'web.app:create_app()'`."""

import secrets

from flask import Flask, Response, g, request

from storage.connection import Storage, connect
from storage.heap import configure_heap
from storage.records.api_key import ApiKey
from storage.records.session import Session
from storage.settings import Settings
from telemetry import context, logs, traces
from web import errors, measuring, request_log, tracing
from web.access import auth
from web.access.auditing import note_refusal
from web.access.exposure import is_open
from web.access.headers import protect
from web.access.journal import Journal
from web.access.key_database import KeyDatabase
from web.access.known_keys import KnownKeys
from web.access.known_sessions import KnownSessions
from web.access.proxy import RootPath, TrustedProxy
from web.access.rate_limits import RateLimits
from web.access.sessions import make_signer
from web.admission import Admission
from web.api import (
    batches,
    feedback,
    health,
    jobs,
    masks,
    models,
    pages,
    queue,
    records,
    reviews,
    rollouts,
    session,
    sessions,
    training,
    usage,
)
from web.cors import Cors
from web.http.body import GatedRequest, close_unless_read, release_body
from web.http.gate import Gate
from web.openapi import views as openapi
from web.rendering.turns import Turns
from web.sql_timeout import within_timeout
from web.upload_turns import UploadTurns
from web.uploads import ENVELOPE_BYTES
from web.waiting import Waiting

REQUEST_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")

PARTS = (
    jobs, masks, records, feedback, reviews, rollouts, training, batches, models, queue, usage, health, pages, session,
    sessions, openapi,
)  # fmt: skip


def create_app(settings: Settings | None = None) -> Flask:
    settings = settings or Settings()
    logs.configure(settings.log_level, settings.log_format)
    traces.start(settings.otel_exporter_otlp_endpoint, "segue-web")
    configure_heap()
    app = Flask("web")
    app.request_class = GatedRequest
    most = settings.max_upload_bytes + ENVELOPE_BYTES
    app.config.update(MAX_CONTENT_LENGTH=most, MAX_FORM_PARTS=20)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    storage = app.extensions["storage"] = connect(settings, online=True)
    app.extensions["waiting"] = Waiting(storage.jobs, settings.max_waiters)
    app.extensions["gate"] = Gate(settings)
    app.extensions["admission"] = Admission(storage)
    app.extensions["cors"] = Cors(settings)
    app.extensions["turns"] = Turns(settings.picture_bytes)
    app.extensions["upload_turns"] = UploadTurns()
    _add_access_control(app, storage)
    for part in PARTS:
        app.register_blueprint(part.blueprint)
    errors.register(app)
    measuring.register(app)
    app.before_request(_name_request)
    tracing.register(app)
    request_log.register(app)
    app.extensions["cors"].register(app)
    app.before_request(auth.authenticate)
    app.after_request(_add_headers)
    app.after_request(close_unless_read)
    app.teardown_request(release_body)
    return app


def _add_access_control(app: Flask, storage: Storage) -> None:
    """Add keys, sessions, rate limits, and the middleware that trusts a declared proxy's headers."""
    settings = storage.settings

    def find_key(key_id: str) -> ApiKey | None:
        return within_timeout(lambda: storage.api_keys.find(key_id))

    def find_session(digest: str) -> Session | None:
        return within_timeout(lambda: storage.sessions.find(digest))

    def any_key() -> bool:
        return within_timeout(storage.api_keys.any_valid)

    if not is_open(settings):
        _ = storage.api_keys  # imports SQLAlchemy at start, so that the first request does not wait for it
    fresh_s, journal = settings.key_cache_s, Journal(storage)
    app.extensions["journal"] = journal
    needed = not is_open(settings) and not settings.public_page
    app.extensions["key_database"] = KeyDatabase(any_key, needed)
    app.extensions["known_keys"] = KnownKeys(find_key, fresh_s)
    app.extensions["known_sessions"] = KnownSessions(
        find_session, fresh_s, settings.session_idle_s, journal.use_session
    )
    app.extensions["rate_limits"] = RateLimits(storage.jobs.client, settings)
    app.extensions["signer"] = make_signer(settings.session_secret.get_secret_value() or secrets.token_hex(32))
    below = RootPath(app.wsgi_app, settings.root_path)
    app.wsgi_app = TrustedProxy(below, settings.trusted_proxy)  # type: ignore[method-assign]


def _name_request() -> None:
    """Use the caller's X-Request-ID if it is short and plain, or generate one; and its `traceparent` if it is valid.

    Responses, problem documents, the log and the jobs that the request creates carry them.
    """
    given = request.headers.get("X-Request-ID", "")
    harmless = 0 < len(given) <= 64 and REQUEST_ID_CHARACTERS.issuperset(given)
    g.request_id = given if harmless else secrets.token_hex(8)
    g.traceparent = context.valid(request.headers.get("traceparent", ""))


def _add_headers(response: Response) -> Response:
    response.headers["X-Request-ID"] = g.get("request_id", "")
    note_refusal(response.status_code)
    return protect(response)
