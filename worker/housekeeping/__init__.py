"""Periodic work: sweeps, adoption, cleaning, records."""
