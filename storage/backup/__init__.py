"""Backups: a folder with all objects and all rows, from which an installation can be restored."""
