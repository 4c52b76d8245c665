"""The learning loop: from corrected masks to a candidate version and its promotion."""
