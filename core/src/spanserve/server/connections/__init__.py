"""Connections: what each may send, how long it may take, and which protocols it may ask for."""
