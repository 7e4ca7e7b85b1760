"""The file: how traces are kept in it, written and found again."""
