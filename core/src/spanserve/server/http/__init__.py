"""HTTP itself: connections, heads, and who is let in."""
