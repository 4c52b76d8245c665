"""Check that the checked-out commit can be released as VERSION, and print the steps that remain.

`make release RELEASE=0.2.0`. Exits with 1 and one line for each thing that is not ready. It runs no
tests and creates no tag: a person does both, in the order of the printed list.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = {"storage/version.py": r'^VERSION = "(.+)"$', "client/segue_client/__init__.py": r'^__version__ = "(.+)"$'}
REMAINING = """\
Ready. What remains, in this order:
  .ci/run                           in a fresh clone of this commit
  make test-faults test-rollouts    every fault, and every rollout
  make bench                        with the figures of docs/performance.md; nothing else running
  make smoke                        each supported Python
  base images by digest             docs/run-in-production.md, "Images by digest": look up and note each
  make sbom                         attach var/sbom/*.cdx.json to the release
  git tag -a v{version} -m "Segue {version}"
  git push origin v{version}
Then open the next version: storage/version.py, client/segue_client/__init__.py, deploy/helm/segue/Chart.yaml,
"unreleased" in CHANGELOG.md."""


def problems(root: Path, version: str) -> Iterator[str]:
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        yield f"{version!r} is not a version like 1.2.3"
        return
    for file, pattern in VERSIONS.items():
        found = re.search(pattern, (root / file).read_text(), re.MULTILINE)
        if not found or found[1] != version:
            yield f"{file} names version {found[1] if found else '(none)'}, not {version}"
    if not re.search(
        rf"^## {re.escape(version)}, \d{{1,2}} \w+ \d{{4}}$", (root / "CHANGELOG.md").read_text(), re.MULTILINE
    ):
        yield f"CHANGELOG.md has no section '## {version}, DAY MONTH YEAR'"
    if git(root, "status", "--porcelain"):
        yield "the working tree has changes that are not committed"
    if git(root, "tag", "--list", f"v{version}"):
        yield f"the tag v{version} exists already"


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: make release RELEASE=1.2.3", file=sys.stderr)
        return 2
    found = list(problems(ROOT, sys.argv[1]))
    print("\n".join(f"not ready: {problem}" for problem in found) or REMAINING.format(version=sys.argv[1]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
