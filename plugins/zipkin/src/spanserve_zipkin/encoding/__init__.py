"""The parts of Zipkin's JSON: columns of values as text, and rows of it."""
