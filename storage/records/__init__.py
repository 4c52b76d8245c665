"""SQL: the records of jobs, and API keys."""
