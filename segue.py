"""The `segue` command of a checkout or an image, where no distribution is installed: `python -m segue`."""

from cli.app import app as operator
from segue_client.commands.app import assemble, run

app = assemble([operator])

if __name__ == "__main__":
    run(app)
