"""Masks for a folder of photos: `segue folder` as a script. It needs segue-client and nothing of the server."""

import typer

from segue_client.commands.folder import folder

if __name__ == "__main__":
    typer.run(folder)
