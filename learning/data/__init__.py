"""Builds the versions of a data set, and brings one to this machine."""
