"""The caller's storage usage and quotas."""

from flask import Blueprint, Response, jsonify

from web import quotas
from web.access.caller import LOCAL, caller
from web.services import connected

blueprint = Blueprint("usage", __name__)


@blueprint.get("/v1/usage")
def usage() -> Response:
    stored, settings, limited = quotas.usage(), connected().settings, caller() is not LOCAL
    return jsonify(
        object="usage",
        jobs=stored.jobs,
        bytes=stored.bytes,
        quota_jobs=settings.quota_jobs if limited else None,
        quota_bytes=settings.quota_bytes if limited else None,
    )
