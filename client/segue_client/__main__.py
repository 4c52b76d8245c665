"""`python -m segue_client` is `segue`."""

from segue_client.commands.app import main

if __name__ == "__main__":
    main()
