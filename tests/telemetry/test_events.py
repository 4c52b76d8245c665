"""Every line that Segue logs is an event, and docs/logs-and-traces.md lists exactly these."""

import ast
import re
from collections.abc import Iterator

from services import ROOT

PACKAGES = ("web", "worker", "storage", "model", "learning", "cli", "telemetry")
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}


def logged() -> Iterator[tuple[str, ast.Call, ast.expr]]:
    """Where each call of a logger's method is, the call, and its message."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                    continue
                owner = ast.unparse(node.func.value)
                if owner.split(".")[-1] in ("log", "logging") and node.func.attr in {*LEVELS, "log"}:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node, node.args[node.func.attr == "log"]


def test_every_line_is_an_event() -> None:
    calls = list(logged())
    assert len(calls) > 40
    for where, call, message in calls:
        assert isinstance(message, ast.Constant), where
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", str(message.value)), where
        assert len(call.args) == 1 + (call.func.attr == "log"), where  # type: ignore[attr-defined]


def test_the_document_lists_every_event() -> None:
    document = (ROOT / "docs" / "logs-and-traces.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| (?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\b", document, re.MULTILINE)
    assert sorted(listed) == sorted({str(message.value) for _, _, message in logged()} | {"message"})  # type: ignore[attr-defined]
