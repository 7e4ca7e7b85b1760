"""Tracers for tests of discovery: sound ones and broken ones."""
