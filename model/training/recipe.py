"""What one training run does, as a file: network, data, schedule, augmentation."""

import hashlib
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

RECIPE = "recipe.json"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Trained(_Section):
    """A trained network: its name in `model.networks.NETWORKS`, its input's side in pixels, and a file of its weights.

    `weights`: a Keras weights file, or an .npz of a PyTorch state whose keys begin with the names of our layers.
    `classes`: how many it tells apart, if not those of the data.
    """

    network: str
    size: int
    weights: Path
    classes: int | None = None


class Augmentation(_Section):
    """Ranges of the random changes. `area`: share of the photo; `rotation`: degrees; the others: relative."""

    area: tuple[float, float] = (0.3, 1.0)
    aspect: float = 1.43
    rotation: float = 8.0
    saturation: float = 0.4
    balance: float = 0.1
    contrast: float = 0.3
    brightness: float = 0.2
    grey: float = 0.08


class Recipe(_Section):
    """`network`: a name in `model.networks.NETWORKS`; `size`: its input's side in pixels, a multiple of 32.

    `start`: "imagenet" for an encoder trained on ImageNet, or a trained network: it is thinned to the widths of
    `network`, and layers that do not fit start at random, as all do without a start.
    `teachers`: networks whose predictions the new one learns (distillation; Hinton et al. 2015, arXiv:1503.02531);
    `teacher_share`: how much of the target comes from them, the rest from the masks.
    `epoch_photos`: how many photos each epoch draws at random; if absent, each epoch shows all photos once.
    `corrections`: their share in `epoch_photos`, from the list `corrections` of the data, repeated as needed; the
    rest replays the other photos, so that the network does not forget them.
    `average`: momentum of the moving average of the weights, which is what a run yields.
    `mixed_precision`: compute in float16, for GPUs.
    """

    network: str
    size: int = Field(multiple_of=32)
    start: Literal["imagenet"] | Trained | None = None
    teachers: tuple[Trained, ...] = ()
    teacher_share: float = Field(0.8, ge=0, le=1)
    epochs: int = Field(ge=1)
    batch_size: int = 64
    learning_rate: float = 2e-3
    warmup: float = Field(0.03, ge=0, lt=1)
    weight_decay: float = 0.03
    average: float = Field(0.9985, ge=0, lt=1)
    epoch_photos: int | None = Field(None, ge=1)
    corrections: float = Field(0.0, ge=0, le=1)
    evaluate_every: int = 1
    mixed_precision: bool = False
    seed: int = 1
    augmentation: Augmentation = Augmentation()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.teachers and self.epoch_photos:  # the teachers' predictions are kept by the photo's place in the list
            raise ValueError("teachers need all photos in each epoch: leave out epoch_photos")
        return self

    @classmethod
    def load(cls, path: Path, networks: Path, **changes: object) -> "Recipe":
        """Read a TOML file; `changes` replace its entries. Paths of weights in it are relative to `networks`.

        Raises ValueError, in one line, that names the entry which is wrong.
        """
        entries = {**tomllib.loads(path.read_text()), **changes}
        try:
            recipe = cls.model_validate(entries)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"{path}: {where}: {first['msg']}") from None
        start = recipe.start
        return recipe.model_copy(
            update={
                "start": _under(networks, start) if isinstance(start, Trained) else start,
                "teachers": tuple(_under(networks, teacher) for teacher in recipe.teachers),
            }
        )

    def to_card(self) -> dict[str, Any]:
        """The recipe as JSON, with the names of weights files and without their folders."""
        fields: dict[str, Any] = self.model_dump(mode="json")
        trained = [entry for entry in (fields["start"], *fields["teachers"]) if isinstance(entry, dict)]
        for entry in trained:
            entry["weights"] = Path(entry["weights"]).name
        return fields

    @property
    def digest(self) -> str:
        """Equal for equal recipes: a run is resumed only with the recipe that began it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def _under(folder: Path, trained: Trained) -> Trained:
    return trained.model_copy(update={"weights": folder / trained.weights})
