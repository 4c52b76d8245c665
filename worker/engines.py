"""Model versions on this worker: fetched from the object store, verified, loaded once."""

import json
import logging
import time
from collections import OrderedDict
from pathlib import Path

from model.card import CARD, Card
from model.segmenter import Segmenter
from storage.objects import MODELS, MinioObjects
from storage.problems import Unavailable

ALIASES = "aliases.json"
MOST_LOADED = 2  # the one that serves and the one that replaces it
ALIASES_FRESH_S = 5.0

log = logging.getLogger(__name__)


class ModelUnavailable(Exception):
    """The version cannot be had or is damaged: the claim is to be released, no job is to blame."""


class Engines:
    """Keeps at most two versions loaded, the least recently used one goes."""

    def __init__(self, objects: MinioObjects, cache: Path) -> None:
        self._objects, self._cache = objects, cache
        self._loaded: OrderedDict[str, Segmenter] = OrderedDict()
        self._aliases: dict[str, str] = {}
        self._aliases_read = -ALIASES_FRESH_S

    def get(self, requested: str) -> Segmenter:
        """The segmenter of an alias ("stable") or version ("pets/1"). Raises ModelUnavailable or Unavailable."""
        version = self._resolve(requested)
        if version not in self._loaded:
            self._loaded[version] = self._load(version)
            if len(self._loaded) > MOST_LOADED:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(version)
        return self._loaded[version]

    def _resolve(self, requested: str) -> str:
        if time.monotonic() - self._aliases_read > ALIASES_FRESH_S:
            content = self._objects.get(MODELS, ALIASES)
            if content is None:
                raise ModelUnavailable("no model has been published yet")
            self._aliases, self._aliases_read = json.loads(content), time.monotonic()
        return self._aliases.get(requested, requested)

    def _load(self, version: str) -> Segmenter:
        folder, started = self._cache / version, time.monotonic()
        try:
            self._fetch(version, folder)
            segmenter = Segmenter(folder)
        except Unavailable:
            raise
        except Exception as error:
            raise ModelUnavailable(f"model {version}: {error}") from error
        log.info("model %s loaded in %.2f s", version, time.monotonic() - started)
        return segmenter

    def _fetch(self, version: str, folder: Path) -> None:
        """Bring the version's files here, except those that are here and undamaged."""
        folder.mkdir(parents=True, exist_ok=True)
        self._fetch_file(version, folder, CARD)
        for name in Card.load(folder).damaged(folder):
            self._fetch_file(version, folder, name)

    def _fetch_file(self, version: str, folder: Path, name: str) -> None:
        content = self._objects.get(MODELS, f"{version}/{name}")
        if content is None:
            raise ModelUnavailable(f"model {version} has no {name}")
        # Several workers share the folder: each file appears whole or not at all.
        partial = folder / f".{name}.{time.monotonic_ns()}"
        partial.write_bytes(content)
        partial.replace(folder / name)


def publish(objects: MinioObjects, folder: Path) -> str:
    """Store the version in `folder`; it becomes `stable` where no alias exists yet. → "name/version"."""
    card = Card.load(folder)
    version = f"{card.name}/{card.version}"
    for name in (*card.files, CARD):  # the card last: whoever sees it finds the files
        objects.put(MODELS, f"{version}/{name}", (folder / name).read_bytes(), "application/octet-stream")
    if objects.get(MODELS, ALIASES) is None:
        objects.put(MODELS, ALIASES, json.dumps({"stable": version}).encode(), "application/json")
    return version
