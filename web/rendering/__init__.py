"""From a stored mask to each output format."""
