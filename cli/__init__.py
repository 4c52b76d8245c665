"""The operator's commands of `segue`, one file per group. A command imports what it needs when it runs."""
