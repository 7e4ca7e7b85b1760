"""Boundaries of spans, announced as they happen."""
