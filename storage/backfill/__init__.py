"""Segments stored photos again with a model version, those first whose masks are likely to change."""
