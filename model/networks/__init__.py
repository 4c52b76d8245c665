"""The networks that Segue can train and run, in plain Keras 3."""
