"""The rollouts, in the object store. One object changes at each step, so a kill leaves the old state or the new one.

rollout.json            the current or last rollout, and the condemned versions
rollouts/{id}.json      earlier rollouts
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydantic import TypeAdapter

from storage import clock, keys, object_keys
from storage.models import Alias, AliasMoved, Alone, Models
from storage.objects import MODELS, MinioObjects
from storage.problems import Problem
from storage.rollouts import counts
from storage.rollouts.rollout import Condemned, Policy, Rollout, State, Step

REGISTER = "rollout.json"
FRESH_S = 1.0
LOCK, LOCKED_S = "rollout", 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Register:
    """`condemned`: version → why it was rolled back."""

    current: Rollout | None = None
    condemned: Mapping[str, Condemned] = field(default_factory=dict)


_ADAPTER = TypeAdapter(Register)


class Rollouts:
    """Every method raises Unavailable if the object store does not answer.

    `start` and `change` raise Problem `unavailable` while another process changes the rollout.
    """

    def __init__(self, objects: MinioObjects, alone: Alone, models: Models) -> None:
        self._objects, self._alone, self._models = objects, alone, models
        self._known: Register = Register()
        self._read_at = -FRESH_S

    def register(self, fresh: bool = False) -> Register:
        """Cached for up to a second unless `fresh`."""
        if fresh or time.monotonic() - self._read_at > FRESH_S:
            content = self._objects.get(MODELS, REGISTER)
            self._known = _ADAPTER.validate_json(content) if content else Register()
            self._read_at = time.monotonic()
        return self._known

    def current(self, fresh: bool = False) -> Rollout | None:
        """The open rollout; None if there is none."""
        found = self.register(fresh).current
        return found if found and not found.state.final else None

    def find(self, rollout_id: str) -> Rollout | None:
        last = self.register().current
        if last and last.id == rollout_id:
            return last
        content = self._objects.get(MODELS, object_keys.rollout(rollout_id)) if keys.is_rollout_id(rollout_id) else None
        return Rollout.from_json(content) if content else None

    def newest_first(self) -> Iterator[Rollout]:
        """All rollouts. Reads each one only when the iteration reaches it."""
        last = self.register(fresh=True).current
        if last:
            yield last
        names = [entry.key for entry in self._objects.listing(MODELS, object_keys.ROLLOUTS)]
        for name in sorted(names, reverse=True):
            content = self._objects.get(MODELS, name)
            if content and (earlier := Rollout.from_json(content)).id != (last and last.id):
                yield earlier

    def tried(self, version: str) -> bool:
        """Whether there was a rollout of the version."""
        return version in self.register().condemned or any(one.version == version for one in self.newest_first())

    def shadow_of(self, version: str) -> list[list[int]] | None:
        """What the shadows of the newest rollout of `version` have shown: for each bin of stable's mean confidence
        (storage/rollouts/counts.py) the photos, and those on which the versions differ.

        None without a rollout of it, or without shadows.
        """
        rollout = next((one for one in self.newest_first() if one.version == version), None)
        if rollout is None or not rollout.total(counts.SHADOWED):
            return None
        names = (counts.SHADOWED, counts.DIFFERING)
        return [[rollout.total(counts.by_confidence(name, index)) for name in names] for index in range(counts.BINS)]

    def start(
        self, version: str, policy: Policy, by: str, pardon: bool = False, *, instead_of: str | None = None
    ) -> Rollout:
        """Begin to replace the stable version by `version`.

        `pardon`: also if it was rolled back before. `instead_of`: the version that must be stable, if that matters.
        Raises Problem `unknown_model`, `rollout_open` or `version_condemned`; AliasMoved.
        """
        if self._models.card(version) is None:
            raise Problem("unknown_model", "version: one that GET /v1/models lists.")
        stable = self._models.aliases(fresh=True).get(Alias.STABLE, "")
        if stable in ("", version):
            raise Problem("invalid_request", f"version: another one than the stable one ({stable or 'none'}).")
        if instead_of not in (None, stable):
            raise AliasMoved(f"{Alias.STABLE} no longer points at {instead_of}")
        now_ms = clock.now_ms()
        first = (Step(policy.steps[0], now_ms),)
        new = Rollout(keys.new_rollout_id(), version, stable, by, now_ms, policy, first)

        with self._changing() as register:
            last, condemned = register.current, register.condemned
            if last and not last.state.final:
                raise Problem("rollout_open", f"{last.version} is being rolled out: abort it first.")
            if version in condemned and not pardon:
                raise Problem("version_condemned", f"{version} was rolled back. {condemned[version].reason}")
            if last:
                self._objects.put(MODELS, object_keys.rollout(last.id), last.to_json(), "application/json")
            self._store(Register(new, {name: why for name, why in condemned.items() if name != version}))
        log.info("rollout_started", extra={**new.log_fields, "by": by})
        return new

    def change(self, transition: Callable[[Rollout], Rollout]) -> Rollout:
        """Store what `transition` makes of the open rollout.

        Points `stable` at the version of a rollout that it promotes, and condemns that of one that it rolls back.
        Raises Problem `no_rollout`; AliasMoved if a person has moved `stable` meanwhile.
        """

        with self._changing() as register:
            before = register.current
            if not before or before.state.final:
                raise Problem("no_rollout", "No rollout is open.")
            after, condemned = transition(before), register.condemned
            if after.state is State.PROMOTED:  # repeated after a kill before the rollout is stored
                self._models.point(Alias.STABLE, after.version, instead_of=after.stable)
            if after.state is State.ROLLED_BACK:
                condemned = {**condemned, after.version: Condemned(after.reason, after.id, after.ended_ms)}
            self._store(Register(after, condemned))
        if (before.state, len(before.steps)) != (after.state, len(after.steps)):
            log.info("rollout_changed", extra=after.log_fields)
        return after

    @contextmanager
    def _changing(self) -> Iterator[Register]:
        with self._alone(LOCK, LOCKED_S) as chosen:
            if not chosen:
                raise Problem("unavailable", "Another process is changing the rollout.", 1)
            yield self.register(fresh=True)

    def _store(self, register: Register) -> None:
        self._objects.put(MODELS, REGISTER, _ADAPTER.dump_json(register), "application/json")
        self._known, self._read_at = register, time.monotonic()
