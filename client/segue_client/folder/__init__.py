"""A folder of photos through one batch, its masks into another folder: `segue folder`."""
