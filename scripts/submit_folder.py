"""`segue folder` as a script: masks for a folder of photos.

Needs segue-client, but not the server.
"""

import sys

from segue_client.commands.app import main

if __name__ == "__main__":
    sys.argv.insert(1, "folder")
    main()
