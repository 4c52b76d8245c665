"""Submit a photo as a form, and read the code of a problem."""

import io
from typing import Any

import pictures
from flask.testing import FlaskClient
from werkzeug.test import TestResponse


def post(client: FlaskClient, content: bytes | None = None, name: str = "cat.jpg", **more: Any) -> TestResponse:
    headers = more.pop("headers", {})
    data = {"image": (io.BytesIO(pictures.jpeg() if content is None else content), name), **more}
    return client.post("/v1/jobs", data=data, headers=headers)


def code(answer: TestResponse) -> str:
    assert answer.content_type == "application/problem+json"
    problem = answer.get_json()
    assert problem["status"] == answer.status_code
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert set(problem) >= {"type", "title", "status", "detail", "instance", "code", "retryable"}
    return str(problem["code"])
