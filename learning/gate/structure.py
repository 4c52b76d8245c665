"""The checks of a candidate as files and as a process: whether it can run in stable's place, and what it costs."""

from pathlib import Path

from learning.gate.footprint import peak_mb
from learning.gate.limits import Limits
from learning.gate.verdict import Check, GateOutcome
from model.card import Card
from model.data import MANIFEST, labels_of
from model.engines import ENGINES
from model.evaluate import cpu_ratio
from model.labels import Label
from model.segmenter import Segmenter

Classes = list[tuple[int, str]]


def usable(candidate: Path, stable: Path, data: Path) -> Check:
    """Raises FileNotFoundError or ValueError if stable has no card."""
    fault = _fault(candidate, Card.load(stable), labels_of(data))
    return Check(
        "usable",
        "SHA-256 of the files; names of the classes",
        "the files are those of the card, the int8 engine loads, and the classes are those of the data and of stable",
        GateOutcome.FAILED if fault else GateOutcome.PASSED,
        fault or "its files are intact and its classes are those of stable",
    )


def _fault(candidate: Path, stable: Card, labels: tuple[Label, ...]) -> str | None:
    try:
        card = Card.load(candidate)
    except (OSError, ValueError):
        return "it has no readable card"
    if MANIFEST not in card.files:
        return f"its card does not name {MANIFEST}, the list of its training photos"
    if damaged := card.damaged(candidate):
        return f"missing or altered: {', '.join(damaged)}"
    for other, theirs in (("the data version", labels), ("stable", stable.labels)):
        if _classes(card.labels) != _classes(theirs):
            return f"its classes are not those of {other}"
    try:
        Segmenter(candidate)
    except ValueError as error:
        return f"its int8 engine does not load: {error}"
    return None


def _classes(labels: tuple[Label, ...]) -> Classes:
    return [(label.id, label.name) for label in labels]


def cost(candidate: Path, stable: Path, limits: Limits) -> Check:
    """The costs of the int8 engine, relative to stable's. Other processes on the machine disturb both alike."""
    cpu = cpu_ratio(Segmenter(candidate), Segmenter(stable))
    memory, size = ([_measure(folder) for folder in (candidate, stable)] for _measure in (peak_mb, _size_mb))
    found = {
        "CPU time": (cpu["ratio"], limits.cpu_ratio),
        "peak memory": (memory[0] / memory[1], limits.memory_ratio),
        "file size": (size[0] / size[1], limits.size_ratio),
    }
    above = [f"more than {most:g} times stable's {name}" for name, (ratio, most) in found.items() if ratio > most]
    return Check(
        "cost",
        "median of the ratios of CPU times measured in turns; peak resident memory of a process; bytes of the file",
        ", ".join(f"{name} at most {most:g} times stable's" for name, (_, most) in found.items()),
        GateOutcome.FAILED if above else GateOutcome.PASSED,
        f"it takes {', '.join(above)}" if above else "CPU time, memory and file size are within the limits",
        figures={
            **{name: round(ratio, 3) for name, (ratio, _) in found.items()},
            "CPU ms per image": [cpu["ms"], cpu["ms_of_other"]],
            "peak MB": memory,
            "file MB": size,
        },
    )


def _size_mb(folder: Path) -> float:
    return (folder / ENGINES["litert"].file).stat().st_size / 1e6
