"""Trains a candidate: fine-tunes a model version on a data set version, and publishes the result with its card."""

from typing import Any

from learning.data.folder import bring
from learning.steps import Place, Step, whole
from learning.watch import Watch
from model.engines import ENGINES
from storage.training.datasets import DatasetError, Manifest, Split
from storage.training.runs import Spec
from storage.training.submitting import TrainParameters, withdrawn


def steps(place: Place, spec: Spec) -> list[Step]:
    return whole(place, spec, train)


def train(place: Place, spec: Spec, watch: Watch) -> dict[str, Any]:
    """Returns the candidate and its data set version. Raises what ends or interrupts a run (`Trainer.do`)."""
    storage, wanted = place.storage, TrainParameters.model_validate(spec.parameters)
    done = {"candidate": wanted.candidate, "dataset": wanted.dataset}
    if _is_published(place, spec, wanted):
        return done
    manifest = storage.datasets.manifest(wanted.dataset)
    _check_not_withdrawn(place, manifest)
    # These import TensorFlow, which other kinds of runs, and a run that has failed by now, do not need.
    from learning import candidate
    from learning.checkpoints import Checkpoints

    watch.report("fetching")
    data, start, run = place.folder / manifest.id.replace("/", "-"), place.folder / "start", place.folder / "run"
    bring(storage, manifest, data, (Split.TRAIN, Split.VALIDATION), watch.beat)
    storage.models.fetch(wanted.start, start, ENGINES["tensorflow"].file)
    checkpoints = Checkpoints(storage.runs, spec.id, run, watch, every_s=storage.settings.checkpoint_s)
    candidate.train(candidate.recipe(wanted, start), data, checkpoints)
    watch.report("exporting")
    made = place.folder / wanted.candidate
    candidate.export(run, data, made, {"dataset": wanted.dataset, "start": wanted.start, "run": spec.id})
    watch.report("measuring")
    candidate.measure(made, bring(storage, manifest, data, (Split.VALIDATION, Split.TEST), watch.beat), watch.beat)
    _check_not_withdrawn(place, manifest)
    storage.models.publish(made)
    return done


def _is_published(place: Place, spec: Spec, wanted: TrainParameters) -> bool:
    """Whether an earlier try was interrupted after the publication: another export would have another card."""
    card = place.storage.models.card(wanted.candidate)
    return card is not None and card.get("training", {}).get("run") == spec.id


def _check_not_withdrawn(place: Place, manifest: Manifest) -> None:
    if erased := place.storage.datasets.erased(manifest):
        raise DatasetError(withdrawn(manifest.id, len(erased)))
