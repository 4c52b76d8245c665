"""The complete description of an app's routes."""

import re
from collections import defaultdict

from flask import Flask
from werkzeug.routing import Rule

from storage.problems import KINDS
from web.access.sessions import CSRF_HEADER, SESSION_COOKIE
from web.openapi import batches, jobs, reviews, rollouts, service, training
from web.openapi.headers import HEADERS
from web.openapi.json_schema import Schema
from web.openapi.operation import Operations
from web.openapi.rendering import method_of, rendered
from web.openapi.schemas import SCHEMAS

OPERATIONS: Operations = {
    **jobs.OPERATIONS,
    **batches.OPERATIONS,
    **service.OPERATIONS,
    **reviews.OPERATIONS,
    **rollouts.OPERATIONS,
    **training.OPERATIONS,
}

INFO: Schema = {
    "title": "Segue",
    "version": "1",
    "summary": "Photos in, masks out, through a queue.",
    "description": "Follow the links in the documents instead of building URLs. "
    "A server bound to loopback requires no key.",
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}
TAGS = {
    "jobs": "A job is one image, from its upload to its end.",
    "batches": "A batch is a set of jobs, such as a folder.",
    "models": "Model versions, aliases, and the gradual replacement of the stable version.",
    "training": "The learning loop: review inbox, runs, data sets, candidates. Requires the scope `admin`.",
    "session": "Cookie sessions for the web page.",
    "service": "The queue, usage, health, and this description.",
}
SECURITY_SCHEMES: Schema = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key, `seg_…`."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": SESSION_COOKIE,
        "description": "From `POST /session`; over https its name begins with `__Host-`.",
    },
    "csrf": {
        "type": "apiKey",
        "in": "header",
        "name": CSRF_HEADER,
        "description": "Required with a session, to change something: the value of the cookie `segue_csrf`.",
    },
}


def describe(app: Flask) -> Schema:
    """Return the description; it does not depend on the caller."""
    return {
        "openapi": "3.1.0",
        "info": INFO,
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": _paths(app),
        "components": {
            "schemas": {**SCHEMAS, **reviews.SCHEMAS, **rollouts.SCHEMAS, **training.SCHEMAS},
            "headers": HEADERS,
            "securitySchemes": SECURITY_SCHEMES,
        },
        "x-problem-codes": {
            code: {"status": kind.status, "title": kind.title, "retryable": kind.retryable}
            for code, kind in KINDS.items()
        },
    }


def _paths(app: Flask) -> Schema:
    paths: defaultdict[str, Schema] = defaultdict(dict)
    for endpoint, operation in OPERATIONS.items():
        view = app.view_functions[endpoint]
        for rule in app.url_map.iter_rules(endpoint):
            paths[path_of(rule)][method_of(rule).lower()] = rendered(rule, operation, view.__doc__ or "")
    return dict(paths)


def path_of(rule: Rule) -> str:
    return re.sub(r"<(\w+)>", r"{\1}", rule.rule)
