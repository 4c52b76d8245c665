"""The classes of a mask, as the job document has them."""

from collections.abc import Sequence
from typing import Any

UNTINTED = "background"  # a class of this name is shown as the photo it is

Classes = Sequence[dict[str, Any]]  # id, name, color, pixels, fraction
