"""Celery workers: segmentation in micro-batches, and housekeeping."""
