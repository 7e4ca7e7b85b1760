"""A replica: the program with a host, in a process of its own."""
