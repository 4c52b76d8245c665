"""How requests enter a web process: connections, heads, bodies and forms, each with its limits."""
