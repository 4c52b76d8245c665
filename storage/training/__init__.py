"""What the learning loop keeps: reviews, and later data sets and runs."""
