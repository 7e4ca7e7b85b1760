"""What the server answers under /traces/, and to whom."""
