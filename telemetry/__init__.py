"""What operators see of a running Segue: log lines, traces, metrics. It imports no other package of Segue."""
