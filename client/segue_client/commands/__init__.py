"""The commands of `segue` that use the HTTP API, one file per group."""
