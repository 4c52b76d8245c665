"""Checks tracked files for forbidden content, and that files named in documents exist."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from detect_secrets import SecretsCollection
from detect_secrets.core import baseline
from detect_secrets.core.potential_secret import PotentialSecret
from detect_secrets.settings import transient_settings
from services import ROOT

BASELINE = ".secrets.baseline"
UPDATE = f"detect-secrets scan --no-verify --baseline {BASELINE}"
MADE_UP = {"Secret Keyword", "Basic Auth Credentials"}  # what a test may contain
DATA = ("model/weights/", "requirements/", BASELINE)
FOREIGN = re.compile(
    r"(?<![\w.-])/(?:wor[k]|roo[t](?!/\.minio)|opt|Users|home)/\w"  # a folder of one machine
    r"|--(?:extra-)?index-url[ =]\S|--find-links[ =]\S"
    r"|files\.python[h]osted\.org|//[\w.-]*(?:dev[p]i|artifactory|nexus)\b"
)
WIDTH = 100
UNBREAKABLE = re.compile(r"\s*(?:!?\[[^]]*\]\([^)]*\)|`[^`]*`)[.,;:]?")  # a link or code that fills its line
A_FILE = re.compile(r"[\w.-]+(?:/[\w.-]+)*\.(?:py|md|sh|lua|ya?ml|toml|js|html|css|ipynb|svg)")


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def texts(names: list[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        try:
            yield name, (ROOT / name).read_text()
        except UnicodeDecodeError:
            continue


def test_no_file_contains_paths_of_a_machine_or_package_indexes(tracked: list[str]) -> None:
    found = [
        f"{name}: {match.group()}"
        for name, text in texts([name for name in tracked if not name.startswith("model/weights/")])
        for match in FOREIGN.finditer(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    "text", ["cd /wor" + "k/main", 'open("/home/' + 'me/x")', "--index-" + "url http://here", "https://dev" + "pi.lan/"]
)
def test_such_a_path_is_detected(text: str) -> None:
    assert FOREIGN.search(text)


def test_the_files_that_documents_name_exist(tracked: list[str]) -> None:
    missing = [
        f"{document}: {word}"
        for document, text in texts([name for name in tracked if name.endswith(".md")])
        for word in named_files(text)
        if not (ROOT / document).parent.joinpath(word).exists()
        and not any(name == word or name.endswith(f"/{word}") for name in tracked)
    ]
    assert missing == []


def named_files(text: str) -> Iterator[str]:
    for code in re.findall(r"`([^`\n]+)`", text):
        for word in code.split():
            if match := A_FILE.fullmatch(word.partition(":")[0].strip("(),;")):
                yield match.group()


def test_a_missing_file_is_detected() -> None:
    assert list(named_files("see `web/app.py:create_app` and `nowhere/else.py`")) == ["web/app.py", "nowhere/else.py"]


def test_lines_of_prose_are_short(tracked: list[str]) -> None:
    documents = [name for name in tracked if name.endswith(".md")]
    assert [f"{name}:{number}" for name, text in texts(documents) for number in long_lines(text)] == []


def long_lines(text: str) -> Iterator[int]:
    """The numbers of lines of prose that are too long. Tables, quotations and code blocks may be wider."""
    code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            code = not code
        wide = code or line.lstrip().startswith(("|", ">")) or UNBREAKABLE.fullmatch(line)
        if len(line) > WIDTH and not wide:
            yield number


def test_a_long_line_is_detected() -> None:
    words, link = "word " * 25, f"[word](https://example.org/{'x' * 100})"
    allowed = f"```\n{words}\n```\n| {words} |\n> {words}\n{link}.\n"
    assert list(long_lines(f"{allowed}{words}\n- {words}\n")) == [7, 8]


def found_secrets(root: Path, names: list[str]) -> list[tuple[str, PotentialSecret]]:
    secrets = SecretsCollection(str(root))
    with transient_settings(baseline.load_from_file(str(ROOT / BASELINE))):
        for name in names:
            secrets.scan_file(name)
    return list(secrets)


def test_no_file_contains_a_secret(tracked: list[str]) -> None:
    results = baseline.load_from_file(str(ROOT / BASELINE))["results"]
    expected = {(name, one["hashed_secret"]) for name, listed in results.items() for one in listed}
    new = [
        f"{name}:{secret.line_number}: {secret.type}"
        for name, secret in found_secrets(ROOT, [name for name in tracked if not name.startswith(DATA)])
        if (name, secret.secret_hash) not in expected and not (name.startswith("tests/") and secret.type in MADE_UP)
    ]
    assert new == [], f"remove it, or, if it is not a secret, run `{UPDATE}`"


def test_a_secret_is_detected(tmp_path: Path) -> None:
    (tmp_path / "leaked.py").write_text('aws_key = "AKIA' + 'IOSFODNN7EXAMPLE"\n')
    assert [secret.type for _, secret in found_secrets(tmp_path, ["leaked.py"])] == ["AWS Access Key"]


def test_every_package_is_installed() -> None:
    """A package missing in pyproject.toml works in a checkout but is missing in an installation."""
    for project, tops in (
        (ROOT, ("cli", "learning", "model", "storage", "telemetry", "web", "worker")),
        (ROOT / "client", ("segue_client",)),
    ):
        listed = set(tomllib.loads((project / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
        folders = {init.parent for top in tops for init in (project / top).rglob("__init__.py")}
        assert {".".join(folder.relative_to(project).parts) for folder in folders} == listed
