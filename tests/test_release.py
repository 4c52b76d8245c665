"""`make release`: what must be true before a commit becomes a version."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from importing import imported
from services import ROOT


@pytest.fixture
def problems(tmp_path: Path) -> Callable[[str], list[str]]:
    """Checks a small repository whose files are ready for the release of 1.2.0."""
    release = imported(ROOT / "scripts" / "release.py")
    write(tmp_path / "storage/version.py", 'VERSION = "1.2.0"\n')
    write(tmp_path / "client/segue_client/__init__.py", '__version__ = "1.2.0"\n')
    write(tmp_path / "CHANGELOG.md", "# Changelog\n\n## 1.2.0, 3 March 2026\n")
    git(tmp_path, "init", "-q")
    commit(tmp_path)
    return lambda version: list(release.problems(tmp_path, version))


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def git(root: Path, *arguments: str) -> None:
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *author, *arguments], cwd=root, check=True, capture_output=True)


def commit(root: Path) -> None:
    git(root, "add", "-A")
    git(root, "commit", "-qm", "Change it")


def test_a_prepared_commit_is_ready(problems: Callable[[str], list[str]]) -> None:
    assert problems("1.2.0") == []


def test_every_file_must_name_the_version(problems: Callable[[str], list[str]]) -> None:
    found = " ".join(problems("1.3.0"))
    assert "storage/version.py names version 1.2.0, not 1.3.0" in found
    assert "client/segue_client/__init__.py names version 1.2.0" in found
    assert "CHANGELOG.md has no section '## 1.3.0" in found
    assert problems("1.2") == ["'1.2' is not a version like 1.2.3"]


def test_an_unreleased_section_is_not_enough(problems: Callable[[str], list[str]], tmp_path: Path) -> None:
    write(tmp_path / "CHANGELOG.md", "# Changelog\n\n## 1.2.0, unreleased\n")
    commit(tmp_path)
    assert problems("1.2.0") == ["CHANGELOG.md has no section '## 1.2.0, DAY MONTH YEAR'"]


def test_changes_and_an_existing_tag_prevent_a_release(problems: Callable[[str], list[str]], tmp_path: Path) -> None:
    write(tmp_path / "new.txt", "x")
    git(tmp_path, "tag", "v1.2.0")
    assert problems("1.2.0") == [
        "the working tree has changes that are not committed",
        "the tag v1.2.0 exists already",
    ]
