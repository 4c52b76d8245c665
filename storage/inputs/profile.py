"""The profile of a model version: how the training photos are distributed over the bins of each feature.

It is stored beside the card as inputs.json. `model.inputs` makes it; this package only counts photos into its bins.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

Value = float | str


@dataclass(frozen=True)
class Bins:
    """The bins of one feature, and the number of training photos in each. Raises ValueError if they do not fit.

    `edges`, ascending, of a number: bin 0 is below the first edge, bin i from edge i-1 up to below edge i, the last one
    from the last edge on. `categories` of a name: one bin each, and a last one for all other names.
    `counts`: () if the training photos do not show the feature, for example the size of resized photos.
    """

    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.edges) == bool(self.categories):
            raise ValueError("a feature has either edges or categories")
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError("the edges of a feature are not ascending")
        if self.counts and (len(self.counts) != len(self) or min(self.counts) < 0):
            raise ValueError("a feature has one count for each bin")
        if self.edges and 0 in self.counts[1:]:
            raise ValueError("an edge is a training photo's value, so its bin is not empty")

    def __len__(self) -> int:
        return len(self.edges or self.categories) + 1

    def bin(self, value: Value) -> int:
        if isinstance(value, str):
            return self.categories.index(value) if value in self.categories else len(self.categories)
        return bisect_right(self.edges, value)

    def typical(self, counts: Sequence[int]) -> Value | None:
        """The median of photos with these counts, interpolated within its bin, or their commonest category.

        None without photos. A median in an open bin is that bin's only edge.
        """
        if not any(counts):
            return None
        if self.categories:
            return (*self.categories, "other")[max(range(len(self)), key=lambda index: counts[index])]
        rest, index = sum(counts) / 2, 0
        while rest > counts[index]:
            rest -= counts[index]
            index += 1
        low, high = self.edges[max(0, index - 1)], self.edges[min(index, len(self.edges) - 1)]
        return low + (high - low) * rest / counts[index]


@dataclass(frozen=True)
class Profile:
    """`features`: name → bins; `photos`: the number of training photos; `digest`: of the file."""

    photos: int
    features: Mapping[str, Bins]
    digest: str

    @classmethod
    def from_json(cls, content: bytes) -> Self:
        """Raises ValueError, in one line, if the content is not a profile."""
        try:
            fields = json.loads(content)
            features = {
                name: Bins(
                    tuple(map(float, one.get("edges", ()))),
                    tuple(map(str, one.get("categories", ()))),
                    tuple(map(int, one.get("counts", ()))),
                )
                for name, one in fields["features"].items()
            }
            return cls(int(fields["photos"]), features, hashlib.sha256(content).hexdigest())
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a profile: {error!r}") from error

    def bins(self, values: Mapping[str, Value]) -> dict[str, int]:
        """Feature → bin, for the features of one photo that the profile has."""
        return {name: self.features[name].bin(value) for name, value in values.items() if name in self.features}
