"""From tickets to finished micro-batches."""
