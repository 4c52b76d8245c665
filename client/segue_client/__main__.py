"""`python -m segue_client` runs the `segue` command."""

from segue_client.commands.app import main

if __name__ == "__main__":
    main()
