"""The HTTP API and the page. Never imports the worker, the model or TensorFlow."""
