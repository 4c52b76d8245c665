"""Shows whether recent photos still look like a version's training photos, and makes profiles."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.server import audit, connected, operated
from segue_client.commands.output import JsonOption, fail, say, show_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.inputs.drift import FeatureDrift
    from storage.inputs.profile import Value

BARS = "▁▂▃▄▅▆▇█"

app = typer.Typer(no_args_is_help=True, help="Show whether photos still look like those that a version was trained on.")


@app.command(epilog="Example: segue drift show --hours 6")
def show(
    version: Annotated[str, typer.Argument(help="Default: the version that stable points at.")] = "",
    hours: Annotated[
        int, typer.Option(min=1, max=7 * 24, help="How many hours: the current one and those before it.")
    ] = 24,
    as_json: JsonOption = False,
) -> None:
    """Compare the photos of the last hours with the version's training photos, feature by feature."""
    from storage.inputs.report import report
    from storage.models import Alias

    with connected() as storage:
        version = version or storage.models.aliases().get(Alias.STABLE, "") or fail("stable points at no version")
        try:
            found = report(storage, version, hours)
        except ValueError as error:
            fail(f"{version}: {error}")
    if found is None:
        fail(f"{version} has no profile: see `segue drift profile --help`")
    if as_json:
        show_json(found.to_document())
        return
    say(f"{version}, last {hours} h: {found.photos} photos, at most one of each micro-batch")
    say(f"{'feature':20} {'PSI':>6} {'evidence':>9} {'training':>9} {'now':>9}  {'now, by bin':12}")
    for feature in found.features:
        say(_row(feature))


def _row(feature: "FeatureDrift") -> str:
    bins = feature.bins
    index = "-" if feature.psi is None else f"{feature.psi:.2f}"
    evidence = "-" if feature.evidence is None else f"10^{feature.evidence:.1f}"
    before, now = (_short(bins.typical(counts)) for counts in (bins.counts, feature.counts))
    row = f"{feature.name:20} {index:>6} {evidence:>9} {before:>9} {now:>9}  {_bars(feature.counts):12}"
    return f"{row} {'drifts' if feature.drifts else ''}".rstrip()


def _short(value: "Value | None") -> str:
    return "-" if value is None else value if isinstance(value, str) else f"{value:.3g}"


def _bars(counts: "Sequence[int]") -> str:
    most = max(1, *counts)
    return "".join(BARS[(len(BARS) - 1) * count // most] for count in counts)


@app.command(epilog="Example: segue drift profile pets/2 --data photos/pets")
def profile(
    version: str,
    data: Annotated[Path, typer.Option(help="Folder with the photos that the version was trained on.")],
    originals: Annotated[
        bool, typer.Option("--originals", help="The photos have the sizes and formats in which they were sent.")
    ] = False,
) -> None:
    """Add a profile to a published version, or replace its profile.

    Workers use the new profile within ten minutes. The counts then start at 0.
    """
    from model.data import MANIFEST
    from model.engines import ENGINES
    from model.inputs import profile as profile_of
    from model.inputs import training_photos
    from model.segmenter import Segmenter
    from storage.model_files import ModelError
    from storage.records.audit_event import Action

    with connected() as storage, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            storage.models.fetch(version, folder, ENGINES["litert"].file, MANIFEST)
            pairs = training_photos(folder, data)
            storage.models.put_profile(version, profile_of(Segmenter(folder), pairs, originals).encode())
        except (ModelError, ValueError, OSError) as error:
            fail(f"cannot make the profile: {error}")
        audit(storage, operated(Action.MODEL_PUBLISHED, version, "profile"))
    typer.echo(f"{version} has a profile of {len(pairs)} photos")
