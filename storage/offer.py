"""The model versions that a worker can use: what it offers with each claim, and what it reports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Canary:
    """The version that gets a share of the jobs of `stable`, while a rollout runs.

    A job is the canary's if the number in the last four hex digits of its id is less than `below`; one of stable's
    jobs is shadowed if that in the four before them is less than `shadow`. `trial`: "{rollout}:{step}". `loaded`: False
    while the worker still loads it.
    """

    version: str
    below: int
    shadow: int
    trial: str
    loaded: bool = True


@dataclass(frozen=True)
class Offer:
    """The models that a worker accepts in a claim.

    Names are aliases or versions; a name that is not in `aliases` is a version.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()
    canary: Canary | None = None

    def version(self, requested: str) -> str:
        return self.aliases.get(requested, requested)

    def resolve(self, requested: str, arm: str) -> tuple[str, str]:
        """The name and the version that serve a claimed job. `arm`: that of its claim.

        The canary is named by its version: that it serves jobs of `stable` says nothing about the alias.
        """
        if self.canary and arm == f"{self.canary.trial}:canary":
            return self.canary.version, self.canary.version
        return requested, self.version(requested)

    def names(self, version: str) -> set[str]:
        """The version and the aliases that point at it."""
        return {version, *(alias for alias, target in self.aliases.items() if target == version)}

    def to_json(self) -> str:
        offered: dict[str, Any] = {"aliases": dict(self.aliases), "refused": dict.fromkeys(self.refused, True)}
        return json.dumps({**offered, "canary": asdict(self.canary)} if self.canary else offered)


EVERYTHING = Offer()


@dataclass(frozen=True)
class EnginesReport:
    """The versions that a worker has loaded, and those it refuses, with the reason."""

    loaded: list[str]
    refused: dict[str, str]
