"""Runs tickets: claims micro-batches, and fetches, segments, stores and finishes their jobs."""
