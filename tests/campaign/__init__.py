"""A campaign against a real server: slow clients, hostile bodies and faults, for some minutes."""
