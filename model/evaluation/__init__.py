"""Quality of a model version: scores, their uncertainty, and pictures of where it fails."""
