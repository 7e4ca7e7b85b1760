"""The exporter's process, as both of its ends see it."""
