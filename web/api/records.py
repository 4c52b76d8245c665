"""Lists of jobs: those named by id from Redis, or pages from the SQL records, which lag by seconds."""

from functools import partial
from typing import Annotated
from urllib.parse import urlencode

from flask import Blueprint, Response, jsonify, request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from storage import keys
from storage.connection import Storage
from storage.job import Job, Status
from storage.problems import Problem
from storage.records.job_filter import Cursor, JobFilter
from storage.recovery import find
from web import parsing
from web.access.auth import count_read
from web.access.caller import caller
from web.documents import job_document, polite_pause_s
from web.services import connected
from web.sql_timeout import within_timeout
from web.threads import each

DEFAULT_PAGE, LONGEST_PAGE = 50, 200
RECOVERERS = 8

blueprint = Blueprint("records", __name__)


class Query(BaseModel):
    model_config = ConfigDict(extra="forbid")

    status: Status | None = None
    batch_id: str | None = None
    created_after: AwareDatetime | None = None
    limit: Annotated[int, Field(ge=1, le=LONGEST_PAGE)] = DEFAULT_PAGE
    cursor: str | None = None


@blueprint.get("/v1/jobs")
def listing() -> Response:
    """List the caller's jobs, newest first, in pages; or the current state of the jobs in `ids`."""
    if "ids" in request.args:
        return _by_ids()
    query = parsing.query(Query)
    after_ms = int(query.created_after.timestamp() * 1000) if query.created_after else None
    wanted = JobFilter(query.status, query.batch_id, after_ms)
    records, tenant, after = connected().records, caller().tenant, _cursor(query.cursor)
    jobs, following = within_timeout(lambda: records.page(tenant, wanted, query.limit, after))
    response = jsonify(
        object="list",
        data=[job_document(job, request.script_root) for job in jobs],
        next_cursor=str(following) if following else None,
    )
    if following:
        asked = {**request.args.to_dict(), "cursor": str(following)}
        response.headers["Link"] = f'<{request.script_root}/v1/jobs?{urlencode(asked)}>; rel="next"'
    return response


def _by_ids() -> Response:
    """List the jobs in `ids`; ids that are not the caller's jobs become `missing`, whatever the reason."""
    ids = list(dict.fromkeys(request.args["ids"].split(",")))
    if set(request.args) != {"ids"} or len(ids) > LONGEST_PAGE or not all(map(keys.is_job_id, ids)):
        raise Problem(
            "invalid_request", f"ids: up to {LONGEST_PAGE} job ids, separated by commas, without other parameters."
        )
    count_read(len(ids))
    found, intact = connected().jobs.look_many(ids)
    look = partial(_recovered, connected(), caller().tenant, intact)
    jobs = dict(zip(ids, each(lambda one: look(*one), zip(ids, found, strict=True), RECOVERERS), strict=True))
    there = [job for job in jobs.values() if job]
    response = jsonify(
        object="list",
        data=[job_document(job, request.script_root) for job in there],
        missing=[name for name, job in jobs.items() if not job],
    )
    if unfinished := [job for job in there if not job.status.final]:
        outlook = connected().jobs.outlook(unfinished[0].id)
        response.headers["Retry-After"] = str(polite_pause_s(outlook.eta_s))
    return response


def _recovered(storage: Storage, tenant: str, intact: bool, job_id: str, job: Job | None) -> Job | None:
    """Return the tenant's job; look it up in the object store if Redis may have lost its current state.

    `intact`: Redis is known to be complete. `job`: the job as Redis has it.
    """
    if job and job.spec.tenant == tenant and (intact or job.status.final):
        return job
    return None if job and intact else find(storage.objects, storage.jobs, tenant, job_id)


def _cursor(text: str | None) -> Cursor | None:
    try:
        return None if text is None else Cursor.parse(text)
    except ValueError as error:
        raise Problem("invalid_request", "cursor: use the next_cursor of the previous page.") from error
