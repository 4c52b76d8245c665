"""A plugin: how `make test` spreads the tests over processes.

Whole modules run first, the longest one first, and then the tests marked `alone`.

A module stays on one worker, because its fixtures may start a server. All modules that start a
whole stack stay on one worker: two stacks at once overload two cores. A test marked `alone`
measures memory or CPU, or needs the whole machine: it runs after all other tests have ended and
their workers and services are gone.
`pytest --write-durations` rewrites the file of durations that decides the order.
"""

import json
import tempfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

DURATIONS = Path(__file__).with_name("durations.json")
SHORTEST_S = 2  # modules faster than this are left out of the file
ALONE_FILE = "alone_file"
STACKS = ("tests/e2e/", "tests/faults/", "tests/rollouts/test_under_load.py")


class Distribution(LoadScopeScheduling):
    """Hands out modules in the order of collection; the last worker gets the tests marked `alone`."""

    def __init__(self, config: pytest.Config, log: Any, alone_file: Path) -> None:
        super().__init__(config, log)
        self._alone_file = alone_file
        self._alone: frozenset[str] | None = None

    def _split_scope(self, nodeid: str) -> str:
        if self._alone is None:
            self._alone = frozenset(json.loads(self._alone_file.read_text()))
        group = group_of(nodeid)
        return f"{group} {pytest.mark.alone.name}" if nodeid in self._alone else group

    def _reschedule(self, node: Any) -> None:
        """Give a worker more tests while it has fewer than two.

        A worker runs a test only once it knows the next one, or knows that this is the last one.
        """
        while (
            node in self.registered_collections
            and not node.shutting_down
            and self._pending_of(self.assigned_work[node]) < 2
        ):
            if not self.workqueue or self._another_worker_remains(node):
                node.shutdown()
            elif self._alone_is_next() and len(self.nodes) > 1:
                return
            else:
                self._assign_work_unit(node)

    def _alone_is_next(self) -> bool:
        return bool(self.workqueue) and _scope_is_alone(next(iter(self.workqueue)))

    def _another_worker_remains(self, node: Any) -> bool:
        """Whether this worker can end: another one remains to run the tests marked `alone`."""
        others = [other for other in self.nodes if other is not node and not other.shutting_down]
        return bool(others) and self._alone_is_next()

    def schedule(self) -> None:
        if self.collection is None:
            super().schedule()
        for node in self.nodes:
            self._reschedule(node)

    def _assign_work_unit(self, node: Any) -> None:
        if len(self.nodes) == 1 or not self._alone_is_next():
            super()._assign_work_unit(node)

    def remove_node(self, node: Any) -> str | None:
        """Give the tests of a crashed worker to the others. Returns the test that crashed it."""
        left = {
            scope: dict.fromkeys(pending, False)
            for scope, tests in self.assigned_work.pop(node).items()
            if (pending := [nodeid for nodeid, done in tests.items() if not done])
        }
        crashed_in = next((nodeid for tests in left.values() for nodeid in tests), None)
        for tests in left.values():
            tests.pop(crashed_in, None)
        units = {**left, **self.workqueue}
        self.workqueue = OrderedDict(sorted(units.items(), key=lambda unit: _scope_is_alone(unit[0])))
        for other in self.nodes:
            self._reschedule(other)
        return crashed_in


def _scope_is_alone(scope: str) -> bool:
    return scope.endswith(f" {pytest.mark.alone.name}")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-durations", action="store_true", help=f"rewrite {DURATIONS.name} from this run")


class Controller:
    """The part of the plugin that runs in the controller, which distributes the tests."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="segue-tests-")
        self._alone_file = Path(self._folder.name) / "alone.json"

    def pytest_unconfigure(self) -> None:
        self._folder.cleanup()

    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput[ALONE_FILE] = str(self._alone_file)

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
        if config.getvalue("dist") != "loadscope":
            return None
        config.option.loadscopereorder = False  # the workers have put the modules in order
        return Distribution(config, log, self._alone_file)


class Worker:
    """The part of the plugin that runs in each worker."""

    def __init__(self, alone_file: Path) -> None:
        self._alone_file = alone_file

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        known, seconds = json.loads(DURATIONS.read_text()), defaultdict[str, float](float)
        for module in {module_of(item.nodeid) for item in items}:
            seconds[group_of(module)] += known.get(module, SHORTEST_S)
        items.sort(key=lambda item: (is_alone(item), -seconds[group_of(item.nodeid)]))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Report the tests marked `alone`. The controller collects nothing and knows only ids."""
        alone = sorted(item.nodeid for item in session.items if is_alone(item))
        written = self._alone_file.with_suffix(f".{id(self)}")
        written.write_text(json.dumps(alone))
        written.replace(self._alone_file)


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Worker(Path(config.workerinput[ALONE_FILE])))
    elif hasattr(config.option, "dist"):  # pytest-xdist is installed
        config.pluginmanager.register(Controller())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("write_durations"):
        seconds: defaultdict[str, float] = defaultdict(float)
        for reports in terminalreporter.stats.values():
            for report in reports:
                if isinstance(report, pytest.TestReport):
                    seconds[module_of(report.nodeid)] += report.duration
        kept = {module: round(spent) for module, spent in sorted(seconds.items()) if spent >= SHORTEST_S}
        DURATIONS.write_text(json.dumps(kept, indent=1) + "\n")


def is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


def module_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def group_of(nodeid: str) -> str:
    """The name shared by the tests that stay on one worker."""
    return "stacks" if nodeid.startswith(STACKS) else module_of(nodeid)
