"""What operators ask for, and what they are told unasked."""
