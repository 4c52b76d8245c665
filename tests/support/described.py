"""A test client that validates every response against the OpenAPI description."""

import json
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator, FormatChecker
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from web.openapi.document import describe, path_of
from web.openapi.headers import HEADERS
from web.openapi.operation import JSON, PROBLEM
from web.openapi.rendering import method_of

OPEN_ENDED = {"static"}  # serves files and is not an operation of the API

Seen = set[tuple[str, str, str]]


class Description:
    """`seen`: (operation, status, media type) of all responses that were checked."""

    def __init__(self, app: Flask) -> None:
        self.document = describe(app)
        self.seen: Seen = set()
        self._adapter = app.url_map.bind("localhost")

    def check(self, answer: TestResponse) -> None:
        method, path = answer.request.method, answer.request.path
        if method in ("HEAD", "OPTIONS"):
            return
        rule = self._rule(method, path)
        if rule is None:
            self.matches({"$ref": "#/components/schemas/Problem"}, answer.get_json())
        elif rule.endpoint not in OPEN_ENDED:
            self._check_operation(self.document["paths"][path_of(rule)][method_of(rule).lower()], answer)

    def matches(self, schema: dict[str, Any], document: Any) -> None:
        """Validate a document. Raises ValidationError, which names the invalid element."""
        whole = {**schema, "components": self.document["components"]}
        Draft202012Validator(whole, format_checker=FormatChecker()).validate(document)

    def promised(self) -> Seen:
        """Every (operation, status, media type) that the description gives below status 400."""
        return {
            (operation["operationId"], status, kind)
            for methods in self.document["paths"].values()
            for operation in methods.values()
            for status, answer in operation["responses"].items()
            if int(status) < 400
            for kind in answer.get("content", {"": None})
        }

    def _rule(self, method: str, path: str) -> Rule | None:
        try:
            rule, _ = self._adapter.match(path, method, return_rule=True)
        except HTTPException:
            return None
        return rule

    def _check_operation(self, operation: dict[str, Any], answer: TestResponse) -> None:
        where = f"{operation['operationId']} {answer.status_code}"
        described = operation["responses"].get(str(answer.status_code))
        assert described, f"{where}: not described"
        content, kind = described.get("content", {}), answer.mimetype if answer.status_code not in (204, 304) else ""
        assert kind in (content or {""}), f"{where}: {kind}"
        self.seen.add((operation["operationId"], str(answer.status_code), kind))
        self._check_headers(where, described["headers"], answer)
        if kind in (JSON, PROBLEM):
            self.matches(content[kind]["schema"], json.loads(answer.data))

    def _check_headers(self, where: str, described: dict[str, Any], answer: TestResponse) -> None:
        required = {name for name, header in described.items() if header.get("required")}
        sent = {name for name in HEADERS if name in answer.headers}
        assert required <= sent, f"{where}: {required - sent} not sent"
        assert sent <= set(described), f"{where}: {sent - set(described)} not described"
        for name in sent:
            schema, value = HEADERS[name]["schema"], answer.headers[name]
            self.matches(schema, int(value) if schema["type"] == "integer" else value)


class DescribedClient(FlaskClient):
    """Validates each response. The app's `extensions["description"]` must be a Description."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        answer = super().open(*args, **kwargs)
        description: Description = self.application.extensions["description"]
        description.check(answer)
        return answer


def held_to_description(app: Flask) -> Flask:
    app.extensions["description"] = Description(app)
    app.test_client_class = DescribedClient
    return app
