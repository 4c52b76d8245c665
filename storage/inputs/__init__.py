"""Whether the photos of the last hours still look like the training photos of the version that segments them."""
