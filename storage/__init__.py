"""The object store, Redis and SQL, shared by the web and worker processes."""
