"""Lists of jobs, from the records: seconds behind, and without limit of age but the retention."""

from typing import Annotated
from urllib.parse import urlencode

from flask import Blueprint, Response, jsonify, request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from storage.job import Status
from storage.problems import Problem
from storage.wanted import Cursor, Wanted
from web.caller import caller
from web.connection import connected
from web.documents import job_document
from web.errors import invalid
from web.patience import answered

DEFAULT_PAGE, LONGEST_PAGE = 50, 200

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
    """The caller's jobs, newest first, a page at a time."""
    query = _query()
    after_ms = int(query.created_after.timestamp() * 1000) if query.created_after else None
    wanted = Wanted(query.status, query.batch_id, after_ms)
    records, tenant, after = connected().records, caller().tenant, _cursor(query.cursor)
    jobs, following = answered(lambda: records.page(tenant, wanted, query.limit, after))
    response = jsonify(
        object="list", data=[job_document(job) for job in jobs], next_cursor=str(following) if following else None
    )
    if following:
        asked = {**request.args.to_dict(), "cursor": str(following)}
        response.headers["Link"] = f'</v1/jobs?{urlencode(asked)}>; rel="next"'
    return response


def _query() -> Query:
    if len(list(request.args.items(multi=True))) != len(request.args):
        raise Problem("invalid_request", "A parameter was sent twice.")
    try:
        return Query.model_validate(request.args.to_dict())
    except ValidationError as error:
        raise invalid(error) from error


def _cursor(text: str | None) -> Cursor | None:
    try:
        return None if text is None else Cursor.parse(text)
    except ValueError as error:
        raise Problem("invalid_request", "cursor: the next_cursor of the page before.") from error
