"""The commands of `segue` over HTTP, one file per group."""
