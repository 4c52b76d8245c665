"""Drift: whether recent photos still look like the training photos of the version that segments them."""
