"""Runs the examples of docs/api.md unchanged against a running stack."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pictures
import pytest
import services
from pydantic import SecretStr
from stack import Stack

from storage.connection import connect
from storage.records.api_key import Scope
from storage.settings import Settings
from web.app import create_app

API = (services.ROOT / "docs" / "api.md").read_text()
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXPECTED = re.compile(r"#\s+(\d{3})(?::\s+(.+))?$")
# Each call's headers and body go to separate files, so that the document can show a plain curl.
PRELUDE = """set -euo pipefail
curl() {
  n=$(ls "$RESPONSES" | grep -c head || true)
  command curl --silent --show-error --max-time 60 --dump-header "$RESPONSES/$n.head" "$@" | tee "$RESPONSES/$n.body"
}
"""


@dataclass(frozen=True)
class Example:
    """One curl command of the document, with continuation lines joined."""

    command: str
    status: int
    fragment: str

    @property
    def method(self) -> str:
        if named := re.search(r" -X (\w+)", self.command):
            return named[1]
        return "POST" if re.search(r" (-F|-d|--data-binary) ", self.command) else "GET"

    @property
    def path(self) -> str:
        [path] = re.findall(r'"\$URL([^"?]*)', self.command)
        return re.sub(r"\$\w+", "x", path)


def script() -> str:
    return "".join(BLOCK.findall(API))


def examples() -> list[Example]:
    lines = [line for line in script().replace("\\\n", "").splitlines() if re.search(r"\bcurl\b", line)]
    found = [(line, EXPECTED.search(line)) for line in lines]
    assert all(expected for _, expected in found), [line for line, expected in found if not expected]
    return [Example(line, int(expected[1]), expected[2] or "") for line, expected in found if expected]


@pytest.fixture(scope="module")
def key(stack: Stack) -> str:
    """A key of the tenant `local`, which every caller of an open server has."""
    sql_url = SecretStr(f"sqlite:///{stack.var}/records.db")
    connection = connect(stack.settings().replace(sql_url=sql_url))
    made = connection.api_keys.create("local", frozenset(Scope))[1]
    connection.close()
    return made


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl")
def test_every_example_gets_its_documented_response(stack: Stack, key: str, tmp_path: Path) -> None:
    responses = tmp_path / "responses"
    responses.mkdir()
    (tmp_path / "cat.jpg").write_bytes(pictures.jpeg(320, 240))
    env = services.environment(URL=str(stack.http.base_url).rstrip("/"), KEY=key, RESPONSES=responses)
    done = subprocess.run(
        ["bash", "-c", PRELUDE + script()],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    calls = examples()
    for number, example in enumerate(calls):
        head, body = responses / f"{number}.head", responses / f"{number}.body"
        assert head.exists(), f"not run: {example.command}\n{done.stderr}"
        *_, status = re.findall(r"^HTTP/\S+ (\d{3})", head.read_text(), re.MULTILINE)
        answer = body.read_bytes().decode(errors="replace")
        assert int(status) == example.status, f"{example.command}\n{answer}"
        assert example.fragment in answer, f"{example.command}\n{answer}"
    assert done.returncode == 0, done.stderr
    assert len(list(responses.iterdir())) == 2 * len(calls)


def test_every_route_has_an_example() -> None:
    app = create_app(Settings(s3_secret_key="secret"))
    adapter = app.url_map.bind("localhost")
    shown = {adapter.match(example.path, example.method)[0] for example in examples()}
    assert shown == {rule.endpoint for rule in app.url_map.iter_rules()} - {"static"}
