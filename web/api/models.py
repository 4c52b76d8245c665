"""Model versions: their metrics, their aliases, and the workers that serve them."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, jsonify
from pydantic import BaseModel, ConfigDict

from storage.model_documents import Pointed, PublishedCard
from storage.models import Alias
from storage.offer import EnginesReport
from storage.problems import Problem
from storage.records.audit_event import Action
from storage.rollouts.rollout import Condemned
from web.access.auditing import note
from web.parsing import json_body
from web.services import connected

blueprint = Blueprint("models", __name__, url_prefix="/v1/models")


class Target(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: str


class Rollback(BaseModel):
    model_config = ConfigDict(extra="forbid")

    alias: Alias = Alias.STABLE


@blueprint.get("")
def listing() -> Response:
    """List all versions: metrics, the number of workers that loaded each, and the refusals with reasons."""
    storage = connected()
    history, reports = storage.models.history(), storage.jobs.workers.reports()
    condemned = storage.rollouts.register().condemned
    cards = {version: storage.models.card(version) for version in storage.models.versions()}
    data = [_document(version, card, history, reports, condemned) for version, card in cards.items() if card]
    return jsonify(object="list", data=data, aliases=history)


@blueprint.put("/aliases/<alias>")
def point(alias: str) -> Response:
    """Promote a version: point the alias at it. Workers follow within a second or two."""
    if alias not in list(Alias):
        raise Problem("not_found", f"The aliases are {', '.join(Alias)}.")
    version = json_body(Target).version
    connected().models.point(Alias(alias), version)
    note(Action.MODEL_PROMOTED, version, alias)
    return jsonify(object="aliases", aliases=connected().models.history())


@blueprint.post("/rollback")
def rollback() -> Response:
    """Point the alias at its previous version again."""
    alias = json_body(Rollback).alias
    note(Action.MODEL_ROLLED_BACK, connected().models.rollback(alias), alias)
    return jsonify(object="aliases", aliases=connected().models.history())


def _document(
    version: str,
    card: PublishedCard,
    history: dict[str, list[Pointed]],
    reports: dict[str, EnginesReport],
    condemned: Mapping[str, Condemned],
) -> dict[str, Any]:
    refused = {worker: report.refused[version] for worker, report in reports.items() if version in report.refused}
    return {
        "id": version,
        "object": "model",
        "name": card["name"],
        "version": card["version"],
        "aliases": [alias for alias, past in history.items() if past[0]["version"] == version],
        "labels": card["labels"],
        "input_size": card["input_size"],
        "files": card["files"],
        "trained_on": card["trained_on"],
        "guarantee": card.get("guarantee", {}),
        "metrics": card["metrics"],
        "workers": sum(version in report.loaded for report in reports.values()),
        "refused": [{"worker": worker, "reason": reason} for worker, reason in refused.items()],
        "condemned": condemned[version].reason if version in condemned else None,
    }
