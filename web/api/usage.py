"""How much is kept for the caller, and how much may be."""

from flask import Blueprint, Response, jsonify

from web import quotas
from web.access.caller import LOCAL, caller
from web.services import connected

blueprint = Blueprint("usage", __name__)


@blueprint.get("/v1/usage")
def usage() -> Response:
    kept, settings, limited = quotas.usage(), connected().settings, caller() is not LOCAL
    return jsonify(
        object="usage",
        jobs=kept.jobs,
        bytes=kept.bytes,
        quota_jobs=settings.quota_jobs if limited else None,
        quota_bytes=settings.quota_bytes if limited else None,
    )
