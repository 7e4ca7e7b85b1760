"""JSON, arrays and tensors <-> what a method takes and gives."""
