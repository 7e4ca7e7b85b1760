"""The benchmark: servers, loads, figures and tables."""
