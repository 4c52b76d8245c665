"""Assigns each correction to a split, or leaves it out."""

from collections.abc import Iterable

from learning.data.corrections import Corrected
from model.data import Pictures
from storage.training.datasets import JUDGES, Item, LeftOut, Split

HELD_OUT_SHARE, VALIDATION_SHARE = 0.30, 0.06


class Assembly:
    """The corrections of a version. Add the oldest first: of two that show the same picture, the first one stays."""

    def __init__(self, base: Iterable[Item]) -> None:
        self.items: list[Item] = []
        self.left_out: list[LeftOut] = []
        self._base = list(base)
        self._of_base = Pictures([bytes.fromhex(item.thumbnail) for item in self._base])
        self._pictures, self._jobs = Pictures(), dict[str, str]()

    def add(self, one: Corrected, thumbnail: bytes) -> None:
        """`thumbnail`: of its photo; ignored for a correction that could not be prepared."""
        twins = [] if one.reason else [self._base[at] for at in self._of_base.alike(thumbnail)]
        if reason := one.reason or self._refusal(one, thumbnail, twins):
            self.left_out.append(LeftOut(one.tenant, one.job_id, reason))
            return
        split = twins[0].split if twins else split_of(one.photo_sha256)  # else one would choose epochs of the other
        self.items.append(
            Item(
                f"correction_{one.job_id.removeprefix('job_')}", split, one.photo, one.mask, one.photo_sha256,
                one.mask_sha256, tenant=one.tenant, job_id=one.job_id, decided_by=one.decided_by,
                decided_ms=one.decided_ms,
            )
        )  # fmt: skip
        self._pictures.add(thumbnail)
        self._jobs[one.photo_sha256] = one.job_id

    def _refusal(self, one: Corrected, thumbnail: bytes, twins: list[Item]) -> str:
        if judged := [twin for twin in twins if twin.split in JUDGES]:
            return f"it shows the same picture as {judged[0].name}, which is kept for judging"
        same = next((self.items[at].job_id for at in self._pictures.alike(thumbnail)), None)
        same = same or self._jobs.get(one.photo_sha256)
        return f"it shows the same picture as {same}" if same else ""


def split_of(photo_sha256: str) -> Split:
    """The photo's content determines its split, so the split is the same in every version."""
    share = int(photo_sha256[:8], 16) / 2**32
    if share < HELD_OUT_SHARE:
        return Split.HELD_OUT
    return Split.VALIDATION if share < HELD_OUT_SHARE + VALIDATION_SHARE else Split.TRAIN
