"""`segue folder`: sends a folder of photos as a batch, and writes the masks into another folder."""
