"""What the gate requires of a candidate."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Differences are of IoU on its scale of 0 to 1, candidate minus stable: 0.01 is a point.

    `margin`, `class_margin`, `group_margin`: how much worse the candidate may be on average, in a class, in a group.
    `engine_margin`: how much worse its int8 engine may be than its float engine.
    `exempt_classes`: names of classes that may get worse.
    `refusal`: the probability that a candidate that is worse nowhere is called worse: on average, in a class, in a
    group.
    `fewest_photos`: with fewer photos (of a class, too) a bound is not computed, and the gate does not decide.
    `smallest_group`: groups with fewer photos are pooled.
    `gain`: the smallest gain on corrections that is worth more photos; `power`: the probability of showing it.
    `spread`: the standard deviation, over photos, of a photo's part in the difference of mean IoU. It estimates the
    power before anything is measured.
    `cpu_ratio`, `memory_ratio`, `size_ratio`: the most that the candidate may cost, relative to stable.
    """

    margin: float = 0.003
    class_margin: float = 0.01
    group_margin: float = 0.03
    engine_margin: float = 0.005
    exempt_classes: tuple[str, ...] = ()
    refusal: float = 0.05
    fewest_photos: int = 20
    smallest_group: int = 8
    gain: float = 0.02
    power: float = 0.8
    spread: float = 0.044  # between pets/2 and pets/3 on their 296 gate photos
    cpu_ratio: float = 1.4
    memory_ratio: float = 1.5
    size_ratio: float = 1.5
