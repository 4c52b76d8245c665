"""Changes modules when a process imports them. For a `sitecustomize` that a stack's processes find on PYTHONPATH."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


class _Finder(MetaPathFinder):
    def __init__(self, wrappers: Mapping[str, Callable[[ModuleType], None]]) -> None:
        self._wrappers = wrappers

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in self._wrappers:
            return None
        spec = PathFinder.find_spec(name, path, target)
        assert spec
        assert spec.loader
        execute = spec.loader.exec_module

        def then_wrap(module: ModuleType) -> None:
            execute(module)
            self._wrappers[name](module)

        spec.loader.exec_module = then_wrap  # type: ignore[method-assign]
        return spec


def install(wrappers: Mapping[str, Callable[[ModuleType], None]]) -> None:
    """`wrappers`: the name of a module → what changes it, once it has been imported."""
    sys.meta_path.insert(0, _Finder(wrappers))
