"""Redis: the pending set, leases, results of transitions, and Celery tickets."""
