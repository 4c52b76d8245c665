"""Scripts of the project, which are in no package."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest


def imported(script: Path) -> ModuleType:
    """The script as a module, with the modules beside it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(script.parent)
        return importlib.import_module(script.stem)
