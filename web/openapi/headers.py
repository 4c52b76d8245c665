"""Response headers by name."""

from web.openapi.json_schema import Schema

HEADERS: dict[str, Schema] = {
    "X-Request-ID": {
        "description": "The request's own, if it is short and plain; otherwise a new one.",
        "schema": {"type": "string"},
    },
    "Location": {
        "description": "The path of the new job or batch.",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Retry-After": {
        "description": "Seconds to wait before the next request.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "ETag": {"description": "Identifies this state, for `If-None-Match`.", "schema": {"type": "string"}},
    "Preference-Applied": {
        "description": "The longest wait in effect, if the request has `Prefer: wait=n`.",
        "schema": {"type": "string", "pattern": "^wait=[0-9]+$"},
    },
    "Idempotency-Replayed": {
        "description": "An earlier request with the same Idempotency-Key created this job or batch.",
        "schema": {"type": "string", "const": "true"},
    },
    "Repr-Digest": {
        "description": "The SHA-256 of the content (RFC 9530).",
        "schema": {"type": "string", "pattern": "^sha-256=:[A-Za-z0-9+/=]+:$"},
    },
    "Link": {"description": 'The next page, `rel="next"`; absent on the last one.', "schema": {"type": "string"}},
    "Content-Disposition": {
        "description": "The file name, from the photo's or the batch's name (RFC 6266).",
        "schema": {"type": "string"},
    },
    "WWW-Authenticate": {"description": "The authentication scheme.", "schema": {"type": "string", "const": "Bearer"}},
    "Set-Cookie": {
        "description": "`segue_session` (HttpOnly) and `segue_csrf`; over https their names begin with `__Host-`.",
        "schema": {"type": "string"},
    },
    "X-Accel-Buffering": {"description": "Prevents a proxy from buffering events.", "schema": {"type": "string"}},
}
