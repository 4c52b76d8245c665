"""One blueprint a resource, all under /v1."""
