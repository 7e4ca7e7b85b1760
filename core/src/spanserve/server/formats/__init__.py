"""Bytes of a request <-> items, and answers in several formats."""
