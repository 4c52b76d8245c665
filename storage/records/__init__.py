"""SQL: records of jobs, API keys, browser sessions and the audit log."""
