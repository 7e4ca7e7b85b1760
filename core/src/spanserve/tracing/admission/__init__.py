"""How a request comes in: whether it is traced, and what its head says."""
