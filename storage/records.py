"""Placeholder to be written."""

from storage.sql import Database


class Records:
    def __init__(self, database: Database) -> None: ...
