"""Least privilege: the role of each program at Redis and at the object store."""
