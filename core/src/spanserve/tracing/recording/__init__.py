"""What a request and a batch write down while they run."""
