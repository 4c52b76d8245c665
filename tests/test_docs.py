"""Keeps the documents and the code consistent."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from services import ROOT

from storage.feedback import CONSENT
from storage.problems import KINDS
from storage.settings import Settings
from web.app import create_app

README = (ROOT / "README.md").read_text()
API = (ROOT / "docs" / "api.md").read_text()


def steps() -> list[tuple[str, str]]:
    """The README's `file:function` pairs."""
    return re.findall(r"`([\w/]+\.(?:py|js)):(\w+)`", README)


def test_the_readme_describes_the_path_of_one_image() -> None:
    assert len(steps()) > 12


@pytest.mark.parametrize(("path", "function"), steps())
def test_every_step_of_the_path_exists(path: str, function: str) -> None:
    text = (ROOT / path).read_text()
    assert re.search(rf"^\s*(?:async )?(?:def|function) {function}\(", text, re.MULTILINE)


def test_every_route_is_in_the_api_document() -> None:
    app = create_app(Settings(s3_secret_key="secret"))
    for rule in app.url_map.iter_rules():
        if rule.endpoint == "static":
            continue
        path = re.sub(r"<(?:job_|batch_)?(\w+)>", r"{\1}", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            assert f"`{method} {path}`" in API, f"{method} {path}"


def test_every_code_is_in_the_api_document() -> None:
    for code in KINDS:
        assert f"`{code}`" in API


def fields(schema: dict[str, Any]) -> Iterator[str]:
    """The names of the fields, with those of nested objects, except the classes that several documents list."""
    for name, field in schema.get("properties", {}).items():
        yield name
        if name not in ("labels", "classes"):
            yield from fields(field)


def missing_fields(text: str, schemas: dict[str, Any]) -> dict[str, list[str]]:
    """Document → the fields of its schema that its block of code does not name."""
    code = re.compile(r'```\n(\{"(?:job_)?id".*?"object": "(\w+)".*?)```', re.DOTALL)
    blocks = {found[2]: found[1] for found in code.finditer(text)}
    return {
        name: [field for field in fields(schemas[name.capitalize()]) if f'"{field}"' not in block]
        for name, block in blocks.items()
    }


def test_every_field_is_in_the_api_document() -> None:
    schemas = create_app(Settings(s3_secret_key="secret")).test_client().get("/openapi.json").get_json()
    missing = missing_fields(API, schemas["components"]["schemas"])
    assert missing == {name: [] for name in ("job", "batch", "review", "run", "dataset", "candidate")}


def test_a_missing_field_is_detected() -> None:
    schema = {"properties": {"id": {}, "object": {}, "links": {"properties": {"self": {}, "mask": {}}}}}
    assert missing_fields('```\n{"id", "object": "job", "links": {"self"}}\n```', {"Job": schema}) == {"job": ["mask"]}


def test_the_wording_of_the_consent_is_in_the_privacy_document() -> None:
    assert f"> {CONSENT}" in (ROOT / "docs" / "privacy.md").read_text()


def test_links_between_documents_exist() -> None:
    for document in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "examples" / "README.md",
        ROOT / "client" / "README.md",
        *(ROOT / "docs").rglob("*.md"),
    ]:
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_the_commands_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake ([a-z-]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_map_names_every_folder() -> None:
    parts = ("web", "worker", "storage", "telemetry", "learning", "model", "cli", "client")
    for folder in (*parts, "scripts", "deploy", "examples", "tests", "docs"):
        assert f"| `{folder}/` |" in README
