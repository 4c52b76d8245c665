"""The `segue` command: its groups, each in a file of cli/."""

import typer

from cli import client, folder, keys, models, operator

app = typer.Typer(no_args_is_help=True, help="Segmentation in a queue: photos in, masks out.")
for group in (client, folder, operator):
    app.add_typer(group.app)
app.add_typer(models.app, name="models", rich_help_panel="Models")
app.add_typer(keys.app, name="keys", rich_help_panel="Keys")

if __name__ == "__main__":
    app()
