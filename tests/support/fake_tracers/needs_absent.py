"""A tracer whose own dependency is not installed."""

import no_such_module_of_a_backend  # type: ignore[import-not-found]  # its absence is the point

plugin = no_such_module_of_a_backend.Tracer()
