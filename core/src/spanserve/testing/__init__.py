"""For tests of services and of plugins: a server in the test's own process, and its traces.

`TracerSuite` is what every tracer must pass; nothing here imports pytest.
"""

from spanserve.testing.backend import Backend, Fault
from spanserve.testing.builders import make_span, spans_of
from spanserve.testing.clients import AsyncClient, Client, async_client, client
from spanserve.testing.samples import SAMPLES
from spanserve.testing.suite import TracerSuite
from spanserve.testing.traces import Trace, Tree

__all__ = [
    "SAMPLES",
    "AsyncClient",
    "Backend",
    "Client",
    "Fault",
    "Trace",
    "TracerSuite",
    "Tree",
    "async_client",
    "client",
    "make_span",
    "spans_of",
]
