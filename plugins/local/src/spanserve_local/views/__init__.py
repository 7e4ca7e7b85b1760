"""What can be asked of the file."""
