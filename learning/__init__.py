"""The learning loop: from corrections to better models. Workers of masks do not import it."""
