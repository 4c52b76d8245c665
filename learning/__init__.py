"""The learning loop: from reviewed corrections to a better model version."""
