"""The model versions on this worker. A new version loads while the old one serves; the worker switches
between two micro-batches, and holds at most two versions.

A version that cannot be loaded is refused for a while, with its reason, and the last good one keeps
serving. Everything except the loading itself runs in the drainer's thread.
"""

import logging
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from model.engines import ENGINES, EngineName
from model.segmenter import Segmenter
from storage.connection import Storage
from storage.model_files import ModelError
from storage.models import Alias, ModelGone
from storage.offer import Canary, Offer
from storage.problems import Unavailable
from storage.rollouts.rollout import State

MOST_LOADED = 2  # the one that serves and the one that replaces it
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 15.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refusal:
    """Why a version cannot be used. The worker retries after `until` (monotonic seconds).

    `gone`: the registry no longer has it; `pause_s`: the pause before this retry.
    """

    reason: str
    gone: bool
    until: float
    pause_s: float


class Engines:
    def __init__(self, storage: Storage, engine: EngineName = "litert") -> None:
        self._models, self._rollouts, self._engine = storage.models, storage.rollouts, engine
        self._cache = storage.settings.model_cache
        self._loader = ThreadPoolExecutor(1, "load")
        self._loaded: OrderedDict[str, Segmenter] = OrderedDict()  # the least recently used one first
        self._serving: dict[str, str] = {}  # requested name → the version that served it last
        self._refused: dict[str, Refusal] = {}
        self._loading: tuple[str, Future[Segmenter]] | None = None

    def offer(self) -> Offer:
        """The versions that a claim may use now.

        Starts loading an alias's new version. Raises Unavailable.
        """
        self._collect()
        aliases = {alias: self._usable(alias, target) for alias, target in self._models.aliases().items()}
        # Jobs that pin a removed version are claimed and fail; jobs of an alias wait until it points elsewhere.
        versions = {version for version in self.refusals if not self.gone(version)}
        stuck = {alias for alias in Alias if aliases.get(alias) in {None, *self.refusals}}
        return Offer(aliases, frozenset(versions | stuck), self._canary(aliases.get(Alias.STABLE)))

    def first(self) -> str | None:
        """The version to load before the first claim, or None if one is loaded. Raises Unavailable."""
        if self._loaded:
            return None
        stable = self.offer().aliases.get(Alias.STABLE)
        return None if stable in self.refusals else stable

    def get(self, requested: str, version: str) -> Segmenter | None:
        """The version for a job that asked for `requested`; None if it must be loaded first."""
        segmenter = self._loaded.get(version)
        if segmenter:
            self._loaded.move_to_end(version)
            self._serving[requested] = version
        return segmenter

    def gone(self, version: str) -> bool:
        return version in self.refusals and self._refused[version].gone

    def load(self, version: str) -> None:
        """Block until the version is loaded or refused. Raises Unavailable."""
        self._collect(wait=True)
        if version not in self._loaded and version not in self.refusals:
            self._start(version)
            self._collect(wait=True)

    @property
    def loaded(self) -> list[str]:
        return list(self._loaded)

    @property
    def refusals(self) -> dict[str, str]:
        """Version → reason, for the versions refused now."""
        now = time.monotonic()
        return {version: refusal.reason for version, refusal in self._refused.items() if now < refusal.until}

    def _usable(self, alias: str, target: str) -> str:
        """The version to use for the alias: its target or, until that is loaded, the last one that served."""
        last = self._serving.get(alias, target)
        if target in self._loaded:
            return target
        refused = target in self.refusals
        if last != target and last in self._loaded and not refused and not self._loading:
            self._start(target, keep=last)
        return last if last in self._loaded or refused else target

    def _canary(self, stable: str | None) -> Canary | None:
        """The canary and its share. Until this worker has loaded it, stable serves its jobs."""
        rollout = self._rollouts.current()
        if not rollout or rollout.state is not State.RUNNING or stable != rollout.stable or stable not in self._loaded:
            return None
        loaded = rollout.version in self._loaded
        if not loaded and not self._loading and rollout.version not in self.refusals:
            self._start(rollout.version, keep=stable)
        return replace(rollout.canary, loaded=loaded)

    def _start(self, version: str, keep: str = "") -> None:
        while len(self._loaded) >= MOST_LOADED:
            self._loaded.pop(next(other for other in self._loaded if other != keep))
        self._loading = version, self._loader.submit(self._fetch_and_load, version)

    def _collect(self, wait: bool = False) -> None:
        """Take the loader's result, a version or the reason for its refusal. Raises Unavailable if `wait`."""
        if not self._loading or not (wait or self._loading[1].done()):
            return
        (version, future), self._loading = self._loading, None
        try:
            self._loaded[version] = future.result()
            self._refused.pop(version, None)
        except Unavailable:
            if wait:
                raise
        except ModelError as error:
            self._refuse(version, str(error), isinstance(error, ModelGone))

    def _refuse(self, version: str, reason: str, gone: bool) -> None:
        before = self._refused.get(version)
        pause_s = min(LONGEST_PAUSE_S, before.pause_s * 2) if before else FIRST_PAUSE_S
        self._refused[version] = Refusal(reason, gone, time.monotonic() + pause_s, pause_s)
        log.error("model_refused", extra={"model": version, "reason": reason, "retry_s": round(pause_s)})

    def _fetch_and_load(self, version: str) -> Segmenter:
        started = time.monotonic()
        self._models.fetch(version, self._cache / version, ENGINES[self._engine].file)
        try:
            segmenter = Segmenter(self._cache / version, self._engine)
        except ValueError as error:
            raise ModelError(str(error)) from error
        except Exception as error:
            log.exception("model_broken", extra={"model": version})
            raise ModelError(f"model {version} cannot be loaded ({type(error).__name__})") from error
        took_ms = round((time.monotonic() - started) * 1000)
        log.info("model_loaded", extra={"model": version, "ms": took_ms})
        return segmenter
