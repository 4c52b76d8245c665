"""Options that several commands share."""

from typing import Annotated

import typer

from segue_client.formats import SUFFIXES, suffix_problem


def _format(value: str) -> str:
    if value not in SUFFIXES:
        raise typer.BadParameter(f"one of {', '.join(SUFFIXES)}.")
    return value


def _suffix(value: str) -> str:
    if problem := suffix_problem(value):
        raise typer.BadParameter(problem)
    return value


TagOption = Annotated[
    list[str] | None, typer.Option(metavar="WORD", help="A tag for finding the jobs later. Repeatable.")
]
FormatOption = Annotated[str, typer.Option(help=f"One of {', '.join(SUFFIXES)}.", callback=_format)]
SuffixOption = Annotated[
    str, typer.Option(help="Suffix of the masks' names. Default: the format's.", callback=_suffix, metavar=".SUFFIX")
]
