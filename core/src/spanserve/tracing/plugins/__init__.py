"""Finding, loading and starting tracers."""
