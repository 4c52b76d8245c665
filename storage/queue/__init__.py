"""The queue: jobs, batches and leases in Redis, and Celery tickets."""
