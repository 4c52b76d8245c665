"""What the learning loop stores: reviews, data set versions, runs."""
