"""The classes of a mask, in the form of the job document."""

from collections.abc import Sequence
from typing import Any

UNTINTED = "background"  # renderings do not tint the class of this name

Classes = Sequence[dict[str, Any]]  # id, name, color, pixels, fraction, perhaps regions
