"""What a method returned, made private and plain."""
