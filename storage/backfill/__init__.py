"""Segments stored photos again with a new model version, first those whose masks are most likely to change."""
