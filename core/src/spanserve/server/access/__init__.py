"""Who is let in, and what is written of each request."""
