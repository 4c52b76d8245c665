"""Images in, masks out: labels, network, training, export and engines. Imports no other package of Segue."""
