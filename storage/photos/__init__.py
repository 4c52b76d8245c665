"""Check and decode photos; read and write the confidence in mask files."""
