"""What a span is, alone and in columns."""
