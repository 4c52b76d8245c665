"""Runs the examples as their first lines describe."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pictures
import pytest
import services
from nbclient import NotebookClient
from PIL import Image
from services import ROOT
from stack import Stack

EXAMPLES = ROOT / "examples"
NOTEBOOK = EXAMPLES / "train_publish_submit.ipynb"


def run(stack: Stack, folder: Path, *command: object) -> list[str]:
    """Run an example in a folder with two photos. Returns the lines that it printed."""
    for seed, name in enumerate(("cat.jpg", "dog.jpg")):
        (folder / name).write_bytes(pictures.jpeg(70, 50, seed))
    env = services.environment(SEGUE_URL=stack.http.base_url, PYTHONPATH=services.PYTHONPATH)
    line = [*map(str, command), "cat.jpg", "dog.jpg"]
    done = subprocess.run(line, env=env, cwd=folder, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
    with Image.open(folder / "mask.png") as mask:
        assert (mask.mode, mask.size) == ("P", (70, 50))
    return done.stdout.splitlines()


def test_curl(stack: Stack, tmp_path: Path) -> None:
    lines = run(stack, tmp_path, "sh", EXAMPLES / "curl.sh")
    assert lines[1:] == ["ended: succeeded", "written: mask.png", "results: 2"]
    results = [json.loads(line) for line in (tmp_path / "results.ndjson").read_text().splitlines()]
    assert {item["custom_id"]: item["status"] for item in results} == {"cat.jpg": "succeeded", "dog.jpg": "succeeded"}


def test_the_python_client(stack: Stack, tmp_path: Path) -> None:
    lines = run(stack, tmp_path, sys.executable, EXAMPLES / "python_client.py")
    assert set(lines[-2:]) == {"cat.jpg: succeeded", "dog.jpg: succeeded"}
    assert {path.name for path in (tmp_path / "batch").iterdir()} == {"cat.jpg.png", "dog.jpg.png"}


def test_the_notebook_is_stored_without_outputs() -> None:
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    """A separate stack, because the notebook moves the alias `stable`."""
    with Stack(tmp_path / "var", workers=1) as made:
        yield made


# The kernel's libraries leave sockets to the garbage collector and issue deprecation warnings.
@pytest.mark.filterwarnings("ignore")
def test_the_notebook(own_stack: Stack) -> None:
    book = nbformat.read(NOTEBOOK, as_version=4)
    path = os.pathsep.join(filter(None, [services.PYTHONPATH, os.environ.get("PYTHONPATH")]))
    env = {**own_stack.env, "SEGUE_URL": str(own_stack.http.base_url), "PYTHONPATH": path}
    kernel = NotebookClient(book, timeout=170, kernel_name="python3", resources={"metadata": {"path": EXAMPLES}})
    kernel.execute(env=env)
    outputs_by_cell = {cell.id: cell.outputs for cell in book.cells if cell.cell_type == "code"}
    printed = {name: "".join(out.get("text", "") for out in outputs) for name, outputs in outputs_by_cell.items()}
    [version] = [entry for entry in own_stack.http.get("/v1/models").json()["data"] if entry["name"] == "shapes"]
    assert f"published {version['id']}, now stable" in "".join(printed.values())
    assert list(printed.values())[-1].strip() == "stable is pets/3"
    shown = [out for outputs in outputs_by_cell.values() for out in outputs if out.output_type == "display_data"]
    assert len(shown) == 4
    assert all("image/png" in out.data for out in shown)
    assert version["metrics"]["litert"]["test"]["mean_iou"] > 0.6
