"""The gate: judges whether a candidate may replace the stable version. Takes files and arrays, returns a verdict."""
