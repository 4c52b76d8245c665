"""The profile of a model version: how the training photos are distributed over the bins of each feature.

It is stored beside the card as inputs.json. `model.inputs` makes it; this package counts photos in its bins.
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
    """The bins of one feature, and the number of training photos in each. Raises ValueError if these are inconsistent.

    `edges`: of a feature that is a number, ascending. Bin 0 holds the values below the first edge, bin i those from
    edge i-1 to below edge i, and the last bin those from the last edge on.
    `categories`: of a feature that is a name. Each has one bin; a last bin holds all other names.
    `counts`: () if the training photos say nothing about the feature, for example resized photos about the size.
    """

    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.edges) == bool(self.categories):
            raise ValueError("a feature must have either edges or categories")
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError("the edges of a feature must be ascending")
        if self.counts and (len(self.counts) != len(self) or min(self.counts) < 0):
            raise ValueError("a feature must have one count, not negative, for each bin")
        if self.edges and 0 in self.counts[1:]:
            raise ValueError("each edge is the value of a training photo, so only the first bin may be empty")

    def __len__(self) -> int:
        return len(self.edges or self.categories) + 1

    def bin(self, value: Value) -> int:
        if isinstance(value, str):
            return self.categories.index(value) if value in self.categories else len(self.categories)
        return bisect_right(self.edges, value)

    def typical(self, counts: Sequence[int]) -> Value | None:
        """The median of photos with these counts, interpolated within its bin, or their most common category.

        None without photos. If the median is in the first or last bin, which are open, it is that bin's only edge.
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
    """`photos`: the number of training photos; `features`: name → bins; `digest`: SHA-256 of the file, in hex."""

    photos: int
    features: Mapping[str, Bins]
    digest: str

    @classmethod
    def from_json(cls, content: bytes) -> Self:
        """Raises ValueError, with a message of one line, if the content is not a profile."""
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
        """The bin of each feature of one photo. Leaves out features that the profile does not have."""
        return {name: self.features[name].bin(value) for name, value in values.items() if name in self.features}
