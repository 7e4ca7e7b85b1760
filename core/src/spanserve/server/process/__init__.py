"""One serving process from its first moment, and the supervisor of several."""
