"""Gradual replacement of the stable model version: state, counts, evidence and decisions."""
