"""The layers of a network that contains networks."""

import keras


def layers(network: keras.Model) -> list[keras.layers.Layer]:
    """All layers, including those of nested networks."""
    return [
        inner for layer in network.layers for inner in (layers(layer) if isinstance(layer, keras.Model) else [layer])
    ]
