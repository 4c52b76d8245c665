"""Turn a route and its Operation into an OpenAPI operation object."""

import inspect
from collections import defaultdict

from werkzeug.routing import Rule

from storage.problems import KINDS
from web.access import auth
from web.openapi.headers import HEADERS
from web.openapi.inputs import CSRF, path_parameter
from web.openapi.json_schema import Schema, ref
from web.openapi.operation import PROBLEM, Answer, Operation

# Routes that need neither Redis nor the object store, or report an outage themselves.
UNAFFECTED = {"health.healthz", "health.readyz", "pages.index", "openapi.document", "openapi.page"}
# Headers of the problems with a status: those of every problem, and those of some.
ALWAYS = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}
SOMETIMES = {401: ("Set-Cookie",), 409: ("Retry-After",)}


def rendered(rule: Rule, operation: Operation, docstring: str) -> Schema:
    public, changes = rule.endpoint in auth.PUBLIC, method_of(rule) not in auth.SAFE
    parameters = [path_parameter(name) for name in sorted(rule.arguments)] + list(operation.parameters)
    if changes and rule.endpoint != "session.create":
        parameters.append(CSRF)
    described: Schema = {
        "operationId": rule.endpoint.replace(".", "_"),
        "tags": [operation.tag],
        "summary": operation.summary or inspect.cleandoc(docstring).partition("\n\n")[0].replace("\n", " "),
        "security": _security(public, changes),
        "parameters": parameters,
        "responses": _responses(operation, _problems(rule, operation, public)),
    }
    if operation.body:
        content = {kind: {"schema": schema} for kind, schema in operation.body.content.items()}
        described["requestBody"] = {"required": operation.body.required, "content": content}
    return described


def method_of(rule: Rule) -> str:
    [method] = (rule.methods or set()) - {"HEAD", "OPTIONS"}
    return method


def _security(public: bool, changes: bool) -> list[Schema]:
    if public:
        return []
    session: Schema = {"session": [], "csrf": []} if changes else {"session": []}
    return [{"key": []}, session]


def _problems(rule: Rule, operation: Operation, public: bool) -> list[str]:
    """Return the route's own codes and those that every route of its kind can return, in KINDS' order."""
    codes = {*operation.problems, "forbidden", "internal"}
    if operation.body:
        codes |= {"request_timeout", "payload_too_large", "too_many_at_once", "rate_limited"}
    if not public:
        codes |= {"unauthorized", "rate_limited"}  # an invalid key counts on every route that reads it
    if rule.endpoint not in UNAFFECTED:
        codes.add("unavailable")
    return [code for code in KINDS if code in codes]


def _responses(operation: Operation, problems: list[str]) -> Schema:
    by_status: defaultdict[int, list[str]] = defaultdict(list)
    for code in problems:
        by_status[KINDS[code].status].append(code)
    answers = {status: _answer(answer) for status, answer in operation.answers.items()}
    answers |= {status: _problem(status, codes) for status, codes in by_status.items()}
    return {str(status): answers[status] for status in sorted(answers)}


def _answer(answer: Answer) -> Schema:
    made: Schema = {"description": answer.description, "headers": _headers(answer.headers, answer.optional)}
    if answer.content:
        made["content"] = {kind: {"schema": schema} for kind, schema in answer.content.items()}
    return made


def _problem(status: int, codes: list[str]) -> Schema:
    titles = " ".join(f"{KINDS[code].title}." for code in codes)
    schema: Schema = {"allOf": [ref("Problem"), {"properties": {"code": {"enum": codes}, "status": {"const": status}}}]}
    headers = _headers(ALWAYS.get(status, ()), SOMETIMES.get(status, ()))
    return {"description": titles, "headers": headers, "content": {PROBLEM: {"schema": schema}}}


def _headers(always: tuple[str, ...], sometimes: tuple[str, ...]) -> Schema:
    """Inline the headers that are always sent, because a $ref cannot carry `required`."""
    named = {name: {**HEADERS[name], "required": True} for name in ("X-Request-ID", *always)}
    return named | {name: {"$ref": f"#/components/headers/{name}"} for name in sometimes}
