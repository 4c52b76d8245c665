"""The contents of an environment after `pip install ./client`."""

import shutil
import subprocess
import sys
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
import services
from packaging.requirements import Requirement

from cli.app import app as operator
from segue_client.commands.app import OPERATOR, assemble


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that the checkout stays clean."""
    folder = tmp_path_factory.mktemp("build")
    source = shutil.copytree(
        services.ROOT / "client", folder / "client", ignore=shutil.ignore_patterns("*.egg-info", "build", "__pycache__")
    )
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source]
    subprocess.run(build, check=True, capture_output=True, text=True)
    [made] = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with only the wheel and its requirements."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run(install, env=services.environment(PYTHONPATH=""), check=True, capture_output=True, text=True)
    [site] = folder.glob("lib/python*/site-packages")
    for required in closure("segue-client", site):
        copy(required, site)
    return folder


def closure(name: str, site: Path) -> list[Distribution]:
    """The direct and indirect requirements of the distribution, as installed in this environment."""
    found: dict[str, Distribution] = {}
    waiting = [Requirement(text) for text in next(Distribution.discover(name=name, path=[str(site)])).requires or []]
    while waiting:
        requirement = waiting.pop()
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if wanted and requirement.name not in found:
            found[requirement.name] = distribution(requirement.name)
            waiting += map(Requirement, found[requirement.name].requires or [])
    return list(found.values())


def copy(installed: Distribution, site: Path) -> None:
    for file in installed.files or []:
        if ".." not in file.parts and "__pycache__" not in file.parts:
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(installed.locate_file(file)), site / file)


def test_the_wheel_holds_one_package_and_one_command(environment: Path) -> None:
    [site] = environment.glob("lib/python*/site-packages")
    files = next(Distribution.discover(name="segue-client", path=[str(site)])).files or []
    tops = {file.parts[0] for file in files if not file.parts[0].endswith(".dist-info")}
    assert tops == {"segue_client", ".."}
    assert [file.name for file in files if file.parts[0] == ".."] == ["segue"]


@pytest.mark.parametrize("command", [["bin/segue"], ["bin/python", "-m", "segue_client"]], ids=" ".join)
def test_it_runs_beside_folders_named_like_the_servers(environment: Path, tmp_path: Path, command: list[str]) -> None:
    for package in ("web", "cli", "storage"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('the wrong package')")
    run = [environment / command[0], *command[1:]]
    env = services.environment(PYTHONPATH="", COLUMNS=200)
    for arguments in (["--help"], ["folder", "--help"], ["submit", "--help"]):
        done = subprocess.run([*run, *arguments], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    imported = "from segue_client import Client; Client('http://127.0.0.1:1').close()"
    subprocess.run([environment / "bin" / "python", "-c", imported], cwd=tmp_path, env=env, check=True)


@pytest.mark.parametrize("name", OPERATOR)
def test_an_operators_command_says_that_the_server_is_missing(environment: Path, tmp_path: Path, name: str) -> None:
    env = services.environment(PYTHONPATH="")
    command = [environment / "bin" / "segue", name, "list", "--any", "option"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    sentence = f"`segue {name}` is a command of the server, which is not installed here.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", sentence)


def test_every_operators_command_has_such_a_message() -> None:
    import typer.main

    both, client_only = (set(typer.main.get_group(assemble(more)).commands) for more in ([operator], []))
    assert both == client_only
    assert set(typer.main.get_group(operator).commands) == set(OPERATOR)


def test_the_installed_command_has_the_operators_commands() -> None:
    done = subprocess.run(
        ["segue", "models", "--help"], env=services.environment(), capture_output=True, text=True, check=True
    )
    assert "publish" in done.stdout
