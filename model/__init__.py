"""Images in, masks out: labels, network, training, export and engines. Knows no storage and no web."""
