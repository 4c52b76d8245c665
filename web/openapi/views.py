"""The OpenAPI description, as JSON and as an HTML page."""

from typing import Any

from flask import Blueprint, Response, current_app, jsonify, render_template, request

from web.openapi.document import describe

blueprint = Blueprint("openapi", __name__)


@blueprint.get("/openapi.json")
def document() -> Response:
    """Get this API's description (OpenAPI 3.1)."""
    return jsonify({**_described(), "servers": [{"url": request.script_root or "/"}]})


@blueprint.get("/docs")
def page() -> str:
    """Get this API's description as a web page."""
    return render_template("docs.html", api=_described())


def _described() -> dict[str, Any]:
    """Return the description; the first request of each process generates it."""
    extensions = current_app.extensions
    if "openapi" not in extensions:
        extensions["openapi"] = describe(current_app)
    found: dict[str, Any] = extensions["openapi"]
    return found
