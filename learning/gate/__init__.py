"""The gate: judges whether a candidate version may replace the stable one. Files and arrays in, a verdict out."""
