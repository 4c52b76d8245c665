"""What counts as a photo, and what a mask file carries."""
