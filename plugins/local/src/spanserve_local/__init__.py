"""Keep spanserve's traces in a file, and look at them in the browser."""

from spanserve_local.settings import LocalSettings
from spanserve_local.tracer import Local

__all__ = ["Local", "LocalSettings"]
