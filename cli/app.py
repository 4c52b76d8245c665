"""All operator commands: the `segue.commands` entry point."""

import typer

from cli import (
    audit,
    backfill,
    backup,
    data,
    drift,
    keys,
    models,
    operator,
    pausing,
    review,
    rollout,
    runs,
    sessions,
    top,
    training,
)

app = typer.Typer()
app.add_typer(operator.app)
app.add_typer(pausing.app)
app.add_typer(backup.app)
app.add_typer(top.app)
app.add_typer(audit.app)
app.add_typer(models.app, name="models", rich_help_panel="Models")
app.add_typer(rollout.app, name="rollout", rich_help_panel="Models")
app.add_typer(review.app, name="review", rich_help_panel="Models")
app.add_typer(training.app)
app.add_typer(training.candidates, name="candidates", rich_help_panel="Models")
app.add_typer(backfill.app)
app.add_typer(data.app, name="data", rich_help_panel="Models")
app.add_typer(drift.app, name="drift", rich_help_panel="Models")
app.add_typer(runs.app, name="runs", rich_help_panel="Models")
app.add_typer(keys.app, name="keys", rich_help_panel="Keys")
app.add_typer(sessions.app, name="sessions", rich_help_panel="Keys")
