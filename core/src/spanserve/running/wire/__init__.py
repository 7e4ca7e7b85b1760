"""What goes between a server and a host in another process: frames, and what stands in them."""
