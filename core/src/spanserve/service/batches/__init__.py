"""Batches of other shapes: data frames, and several arrays by name."""
