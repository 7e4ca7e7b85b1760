"""What becomes of finished spans: the answers of backends, and what follows from them."""
