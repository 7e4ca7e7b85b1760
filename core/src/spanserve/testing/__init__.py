"""For tests of services and of plugins: a server in the test's own process, and its traces."""

from spanserve.testing.clients import AsyncClient, Client, async_client, client
from spanserve.testing.traces import Trace, Tree

__all__ = ["AsyncClient", "Client", "Trace", "Tree", "async_client", "client"]
