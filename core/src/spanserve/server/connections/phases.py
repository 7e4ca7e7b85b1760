"""What a connection's client sends next."""

from typing import Final

HEAD: Final = 0
"""The client owes a head, all of it or its rest."""
BODY: Final = 1
"""It owes the rest of a body."""
NEXT: Final = 2
"""It owes nothing, and may send its next request."""
NOTHING: Final = 3
"""Nothing that it sends is read: the connection ends."""
