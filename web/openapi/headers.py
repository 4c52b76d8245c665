"""Headers of answers, by name."""

from web.openapi.schemas import Schema

HEADERS: dict[str, Schema] = {
    "X-Request-ID": {
        "description": "The caller's own if it is harmless, else a new one.",
        "schema": {"type": "string"},
    },
    "Location": {
        "description": "The path of what was made.",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Retry-After": {
        "description": "Seconds to wait before asking again.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "ETag": {"description": "Of this state, for `If-None-Match`.", "schema": {"type": "string"}},
    "Preference-Applied": {
        "description": "How long the answer could have waited, where that was asked for.",
        "schema": {"type": "string", "pattern": "^wait=[0-9]+$"},
    },
    "Idempotency-Replayed": {
        "description": "This is the answer to an earlier request with the same key.",
        "schema": {"type": "string", "const": "true"},
    },
    "Repr-Digest": {
        "description": "The SHA-256 of the content (RFC 9530).",
        "schema": {"type": "string", "pattern": "^sha-256=:[A-Za-z0-9+/=]+:$"},
    },
    "Link": {"description": '`rel="next"`, unless this is the last page.', "schema": {"type": "string"}},
    "Content-Disposition": {
        "description": "The name to save it under, after the photo's or the batch's (RFC 6266).",
        "schema": {"type": "string"},
    },
    "WWW-Authenticate": {"description": "How to say who calls.", "schema": {"type": "string", "const": "Bearer"}},
    "Set-Cookie": {
        "description": "`segue_session` (HttpOnly) and `segue_csrf`; over https their names begin with `__Host-`.",
        "schema": {"type": "string"},
    },
    "X-Accel-Buffering": {"description": "A proxy passes each event on at once.", "schema": {"type": "string"}},
}
