"""Bodies that are no JSON: bytes as they are, and forms with files."""
