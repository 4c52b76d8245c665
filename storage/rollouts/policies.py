"""The policy of a rollout: the defaults, replaced by the setting ROLLOUT_POLICY, replaced by what a person asks for."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from storage.problems import Problem
from storage.rollouts.rollout import Policy
from storage.settings import Settings

_ADAPTER = TypeAdapter(Policy)


def policy_of(settings: Settings, wanted: Mapping[str, Any] | None = None) -> Policy:
    """`wanted`: entries that replace those of the setting. Raises Problem `invalid_request`."""
    given = {**settings.rollout_policy, **(wanted or {})}
    if unknown := given.keys() - set(Policy.__dataclass_fields__):
        raise Problem("invalid_request", f"policy: unknown entry {min(unknown)}.")
    try:
        return _ADAPTER.validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in ("policy", *first["loc"]))
        raise Problem("invalid_request", f"{place}: {first['msg'].removeprefix('Value error, ')}") from error
