"""Object store, Redis and SQL: everything that web and worker must agree on."""
