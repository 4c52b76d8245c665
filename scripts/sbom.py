"""Write a CycloneDX SBOM of each image, from the lock file that the image is built with.

`make sbom` writes var/sbom/segue-web.cdx.json and so on. An SBOM lists the Python packages that pip
installs into the image on Linux. The packages of the base image are not among them: a scanner that
reads the image itself lists those.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

from storage.version import VERSION

ROOT = Path(__file__).resolve().parent.parent
# Image → the lock file in requirements/. That of the trainer contains the worker's packages, which it is built on.
IMAGES = {"segue-web": "web", "segue-worker": "worker", "segue-worker-gpu": "gpu", "segue-trainer": "train"}
SPEC_VERSION = "1.6"
# cyclonedx-py would add that a lock file does not say which package needs which.
QUIET = ("-W", "ignore:The Component this BOM is describing:UserWarning")


def latest_python() -> str:
    """The Python of the default base image, such as 3.11.99: its tag names the latest patch release."""
    found = re.search(r"^ARG PYTHON_IMAGE=python:(\d+\.\d+)-", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    if not found:
        sys.exit("Dockerfile: the default of PYTHON_IMAGE is not python:MAJOR.MINOR-…")
    return f"{found[1]}.99"


def installed(lock: str, python: str) -> Iterator[str]:
    """Yield the entries of a lock file that apply to Linux, with their hashes, one a line.

    `python`: the full version of the image's Python, which decides about a few entries.
    """
    environment = {
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "sys_platform": "linux",
    }
    for entry in lock.replace("\\\n", " ").splitlines():
        marker = Requirement(entry.partition(" --hash")[0]).marker if entry else None
        if entry and (marker is None or marker.evaluate(environment)):
            yield entry


def write(image: str, file: Path, python: str) -> None:
    """Write the SBOM of an image with this Python, after cyclonedx-py has validated it.

    The same commit gives the same document.
    """
    lock = (ROOT / "requirements" / f"{IMAGES[image]}.txt").read_text()
    described = file.with_suffix(".toml")
    described.write_text(f'[project]\nname = "{image}"\nversion = "{VERSION}"\nlicense = "Apache-2.0"\n')
    subprocess.run(
        [sys.executable, *QUIET, "-m", "cyclonedx_py", "requirements", "-", "--pyproject", str(described),
         "--spec-version", SPEC_VERSION, "--output-reproducible", "--output-file", str(file)],
        input="\n".join(installed(lock, python)), text=True, check=True,
        env={**os.environ, "SOURCE_DATE_EPOCH": git("log", "-1", "--format=%ct")},
    )  # fmt: skip
    described.unlink()


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "var" / "sbom")
    parser.add_argument("--python", default=latest_python(), help="of the images, if PYTHON_IMAGE names another")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for image in IMAGES:
        file = arguments.folder / f"{image}.cdx.json"
        write(image, file, arguments.python)
        print(file)


if __name__ == "__main__":
    main()
