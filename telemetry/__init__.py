"""What operators see of a running Segue: log lines and traces. It imports no other package of Segue."""
