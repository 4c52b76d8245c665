"""`segue folder` as a script: masks for a folder of photos. It needs segue-client and nothing of the server."""

import typer

from segue_client.commands.folder import folder

if __name__ == "__main__":
    typer.run(folder)
