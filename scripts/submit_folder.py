"""Masks for a folder of photos: `segue folder` as a script. Needs `pip install .[client]`, nothing of the server."""

import typer

from cli.folder import folder

if __name__ == "__main__":
    typer.run(folder)
