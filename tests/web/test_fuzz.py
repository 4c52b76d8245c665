"""Sends generated requests to the real server: every response must match the OpenAPI description.

The requests are the same in every run, so that a failure is reproducible.
"""

import base64
import io
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pictures
import pytest
import schemathesis
import services
import shared_services
from callers import SECRET, bearer, new_key
from hypothesis import HealthCheck
from hypothesis import settings as examples
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from services import SHIPPED_MODEL, Service

from storage.connection import Storage, connect
from storage.records.api_key import Scope
from storage.settings import Settings
from web.app import create_app
from web.openapi.document import describe
from worker.engines import Engines
from worker.housekeeping.recorder import record
from worker.pipeline.pipeline import Pipeline

SEED, EXAMPLES, PROMPT_S = 20, 30, 30
HOME = re.escape(os.path.expanduser("~/")).encode()  # of the server's user
OURS = re.compile(
    rb"Traceback|\.py\b|/tmp/|/usr/|"
    + HOME
    + rb"|site-packages|minio|seaweed|pydantic|werkzeug|sqlalchemy|sqlite|psycopg|lua\b",
    re.IGNORECASE,
)
CHECKS: Any = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
    allow_header_conformance,
    ignored_auth,
]
CONFIG = SchemathesisConfig.from_dict({"seed": SEED, "generation": {"deterministic": True}})

api = schemathesis.openapi.from_dict(describe(create_app(Settings(s3_secret_key="secret"))), config=CONFIG)


@dataclass(frozen=True)
class Known:
    """Existing ids for the requests."""

    key: dict[str, str]
    job_ids: list[str]
    batch_ids: list[str]


@pytest.fixture(scope="module")
def behind(settings: Settings) -> Iterator[Storage]:
    made = connect(settings.replace(bucket_prefix="fuzz-"))
    made.objects.make_buckets()
    made.jobs.client.flushall()
    made.jobs.epoch.mark_intact()
    made.models.publish(SHIPPED_MODEL)
    yield made
    made.jobs.client.close()


@pytest.fixture(scope="module")
def web(behind: Storage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A server as the public reaches it: it requires keys."""
    port, log = services.free_ports(1), tmp_path_factory.mktemp("fuzz") / "gunicorn.log"
    much = "1000000/minute"
    asked = {"REQUIRE_KEYS": 1, "SESSION_SECRET": SECRET, "LIMIT_KEY": much, "LIMIT_ADDRESS": much}
    env = services.joining(behind.settings, PORT=port, **asked)
    started = services.start(services.procfile("web"), env, port, log)
    with shared_services.watch(started):
        yield started
    started.stop()
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def pipeline(behind: Storage) -> Pipeline:
    return Pipeline(behind, Engines(behind), "worker")


@pytest.fixture
def known(behind: Storage, pipeline: Pipeline) -> Known:
    """For each operation: jobs with a mask, without one, and pending; open and ended batches."""
    key = bearer(new_key(behind, scopes=(Scope.ADMIN,)))
    client = create_app(behind.settings.replace(require_keys=True)).test_client()

    def post(path: str, **how: Any) -> dict[str, Any]:
        found: dict[str, Any] = client.post(path, headers=key, **how).get_json()
        return found

    def job(content: bytes) -> str:
        return str(post("/v1/jobs", data=content, content_type="image/jpeg")["id"])

    batch, opened = (post("/v1/batches", json={"name": name}) for name in ("closed", "open"))
    photo = {"image": (io.BytesIO(pictures.jpeg()), "a.jpg")}
    post(batch["links"]["jobs"], data=photo)
    post(batch["links"]["close"])
    ended = [job(pictures.jpeg()), job(pictures.truncated_jpeg())]
    pipeline.run("drainer")
    post(f"/v1/jobs/{ended[0]}/feedback", json={"verdict": "bad", "consent_training": True})
    record(behind)
    return Known(key, [*ended, job(pictures.jpeg())], [batch["id"], opened["id"]])


@api.parametrize()
@examples(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_every_request_is_answered_as_described(case: Case, web: Service, known: Known) -> None:
    use_existing_ids(case, known)
    answer = case.call(base_url=f"http://127.0.0.1:{web.port}", headers=known.key, timeout=2 * PROMPT_S)
    case.validate_response(answer, checks=[*CHECKS], additional_checks=[shows_no_internals], headers=known.key)
    assert answer.elapsed < PROMPT_S


def use_existing_ids(case: Case, known: Known) -> None:
    """Replace most generated ids by existing ones, and some generated bytes by a photo."""
    chosen = zlib.crc32(repr((case.path_parameters, case.query, case.body, sorted(case.headers.items()))).encode())
    for name, ids in (("job_id", known.job_ids), ("batch_id", known.batch_ids)):
        # The last of each has not ended, so its event stream would not end either.
        there = ids[:-1] if case.path.endswith("/events") else ids
        if name in (case.path_parameters or {}) and chosen % 4:
            case.path_parameters[name] = there[chosen % 4 % len(there)]
    if case.media_type == "application/json" and isinstance(case.body, dict) and "image" in case.body and chosen % 2:
        case.body["image"] = f"data:image/jpeg;base64,{base64.b64encode(pictures.jpeg()).decode()}"
    elif isinstance(case.body, dict) and "image" in case.body and chosen % 2:
        case.body["image"] = [pictures.jpeg()] if isinstance(case.body["image"], list) else pictures.jpeg()


def shows_no_internals(ctx: Any, response: Response, case: Case) -> None:
    assert not OURS.search(response.content), response.content[:2000]
