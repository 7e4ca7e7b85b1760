"""Trace headers, in and out."""
