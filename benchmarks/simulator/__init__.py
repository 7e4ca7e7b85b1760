"""A discrete-event simulator of batching: the real policy beside others, with no clock."""
