"""The commands of `segue`, one file a group. Each part is imported when it is used: a client needs no server."""
