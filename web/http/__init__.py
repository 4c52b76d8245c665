"""Limits on what a web process receives: connections, request heads, bodies and forms."""
