"""Counts of segmented photos in Redis, by version, profile and hour: sums only, without tenant, job or photo."""

from collections.abc import Mapping
from dataclasses import dataclass

import redis

from storage import clock, keys
from storage.inputs.profile import Profile

HOUR_MS = 3600 * 1000
KEPT_S = 8 * 24 * 3600
PHOTOS = "photos"  # the field with the number of photos; all others are {feature}:{bin}


@dataclass(frozen=True)
class Window:
    """The photos counted in some hours. `photos`: how many; `counted`: feature → how many in each bin."""

    photos: int
    counted: Mapping[str, list[int]]


def add(client: redis.Redis, version: str, profile: Profile, bins: Mapping[str, int]) -> None:
    """Count one photo in the current hour. `bins`: from `Profile.bins`. Raises redis.RedisError."""
    key = keys.inputs(version, profile.digest, clock.now_ms() // HOUR_MS)
    with client.pipeline(transaction=False) as pipe:
        pipe.hincrby(key, PHOTOS, 1)
        for name, number in bins.items():
            pipe.hincrby(key, f"{name}:{number}", 1)
        pipe.expire(key, KEPT_S)
        pipe.execute()


def window(client: redis.Redis, version: str, profile: Profile, hours: int) -> Window:
    """The photos counted in the current hour and the `hours` - 1 before it. Raises redis.RedisError."""
    now = clock.now_ms() // HOUR_MS
    with client.pipeline(transaction=False) as pipe:
        for hour in range(now - hours + 1, now + 1):
            pipe.hgetall(keys.inputs(version, profile.digest, hour))
        found: list[dict[str, str]] = pipe.execute()
    photos, counted = 0, {name: [0] * len(bins) for name, bins in profile.features.items()}
    for fields in found:
        photos += int(fields.pop(PHOTOS, 0))
        for field, count in fields.items():
            name, _, number = field.rpartition(":")
            counted[name][int(number)] += int(count)
    return Window(photos, counted)
