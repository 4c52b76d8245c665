"""Prepares the contents of data set versions, and downloads a version."""
