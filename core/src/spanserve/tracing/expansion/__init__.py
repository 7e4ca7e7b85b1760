"""From finished records to spans."""
