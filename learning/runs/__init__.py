"""What a trainer does in each kind of run."""
