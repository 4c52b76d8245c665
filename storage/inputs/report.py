"""The report on the drift of a version's inputs within a window."""

from dataclasses import dataclass
from typing import Any

from storage.connection import Storage
from storage.inputs.counts import window
from storage.inputs.drift import FeatureDrift, compare
from storage.inputs.profile import Profile
from storage.models import Alias

WINDOW_H = 24


@dataclass(frozen=True)
class Report:
    """`photos`: how many were counted in the window; `features`: in the profile's order."""

    version: str
    hours: int
    photos: int
    features: list[FeatureDrift]

    @property
    def drifting(self) -> list[str]:
        return [feature.name for feature in self.features if feature.drifts]

    def to_document(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "hours": self.hours,
            "photos": self.photos,
            "drifting": self.drifting,
            "features": [_document(feature) for feature in self.features],
        }


def report(storage: Storage, version: str = "", hours: int = WINDOW_H) -> Report | None:
    """Compare the photos of the last `hours` with the version's profile. None if the version has none.

    `version`: default: the one that stable points at. Raises ValueError if the profile is invalid; Unavailable or
    redis.RedisError during an outage.
    """
    version = version or storage.models.aliases().get(Alias.STABLE, "")
    content = storage.models.profile(version)
    if content is None:
        return None
    profile = Profile.from_json(content)
    found = window(storage.jobs.client, version, profile, hours)
    return Report(version, hours, found.photos, compare(profile, found.counted))


def _document(feature: FeatureDrift) -> dict[str, Any]:
    bins = feature.bins
    return {
        "name": feature.name,
        "psi": None if feature.psi is None else round(feature.psi, 4),
        "evidence": None if feature.evidence is None else round(feature.evidence, 2),
        "drifts": feature.drifts,
        "edges": list(bins.edges),
        "categories": list(bins.categories),
        "training": list(bins.counts),
        "now": list(feature.counts),
        "typical_training": bins.typical(bins.counts),
        "typical_now": bins.typical(feature.counts),
    }
