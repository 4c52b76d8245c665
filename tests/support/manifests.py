"""Kubernetes documents, and what judges them: Kubernetes' own schemas, and one for KEDA's ScaledObject."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml
from required import lacks
from services import ROOT

CHART = ROOT / "deploy" / "helm" / "segue"
OLDEST, NEWEST = "1.30.0", "1.37.0"  # the oldest is kubeVersion in Chart.yaml

Document = dict[str, Any]

TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
# The fields of KEDA's CRD (keda.sh/v1alpha1) that the chart uses; Kubernetes' schemas do not have it.
SCALED_OBJECT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "keda.sh/v1alpha1"},
        "kind": {"const": "ScaledObject"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["scaleTargetRef", "triggers"],
            "properties": {
                "scaleTargetRef": {"type": "object", "additionalProperties": False, "properties": {"name": {}}},
                **{name: {"type": "integer"} for name in ("minReplicaCount", "maxReplicaCount", "cooldownPeriod")},
                "triggers": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["type", "metadata"],
                        "properties": {"type": {"type": "string"}, "metadata": TEXTS},
                    },
                },
            },
        },
    },
}


def validate(document: Document) -> None:
    """Raise kubernetes_validate.ValidationError or jsonschema.ValidationError for an unknown or wrong field."""
    if document["apiVersion"].startswith("keda.sh/"):
        jsonschema.validate(document, SCALED_OBJECT)
        return
    for version in (OLDEST, NEWEST):
        kubernetes_validate.validate(document, version, strict=True)


def helm(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    program = shutil.which("helm", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        lacks("no helm: scripts/install_helm.py installs it")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=check)


def rendered(*arguments: str) -> str:
    return helm("template", "segue", str(CHART), "--namespace", "segue", *arguments).stdout


def documents(text: str) -> list[Document]:
    return [one for one in yaml.safe_load_all(text) if one]


def pods(found: list[Document]) -> dict[str, Document]:
    """Name of the Deployment, Job or Pod → its pod: metadata and spec."""
    named = {one["metadata"]["name"]: one for one in found if one["kind"] in ("Deployment", "Job", "Pod")}
    return {name: one if one["kind"] == "Pod" else one["spec"]["template"] for name, one in named.items()}
