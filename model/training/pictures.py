"""Draws the losses and scores of a training, epoch by epoch."""

import csv
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

CURVES = "curves.png"


def curves(epochs: Path) -> None:
    """Draw loss and mean IoU of the epochs of a CSV file beside it."""
    with epochs.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(7, 4), layout="constrained")
        loss = figure.subplots()
        loss.plot([int(row["epoch"]) for row in rows], [float(row["loss"]) for row in rows], color="tab:orange")
        loss.set(xlabel="epoch", ylabel="loss")
        quality = loss.twinx()
        scored = [row for row in rows if row["mean_iou"]]
        quality.plot([int(row["epoch"]) for row in scored], [float(row["mean_iou"]) for row in scored], marker=".")
        quality.set_ylabel("mean IoU on the validation photos")
        figure.savefig(epochs.with_name(CURVES), dpi=120)
