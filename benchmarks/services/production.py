"""The model of microseconds behind what users put before it: dependencies, and other methods."""

from typing import Annotated, Any

import numpy as np
from fastapi import Depends, Header, Security
from fastapi.security import APIKeyHeader

from spanserve import Array, api, service

Rows = Annotated[np.ndarray, Array("float32", (64,))]


async def asynchronous() -> str:
    """Return at once."""
    return "a tenant"


def synchronous() -> str:
    """Return at once, on a thread."""
    return "a tenant"


async def header(x_tenant: Annotated[str, Header()] = "a tenant") -> str:
    """Return what a header says."""
    return x_tenant


def _noop(name: str, dependency: Any) -> type:
    class Noop:
        """64 floats to 10: a model of microseconds."""

        @api(batch=True, max_batch_size=64, inline=True, dependencies=[dependency])
        def predict(self, rows: Rows) -> np.ndarray:
            """Return zeros."""
            return np.zeros((len(rows), 10))

    return service(name=name)(Noop)


Async = _noop("Async", Depends(asynchronous))
Sync = _noop("Sync", Depends(synchronous))
WithHeader = _noop("WithHeader", Depends(header))
WithSecurity = _noop("WithSecurity", Security(APIKeyHeader(name="x-key", auto_error=False)))


@service
class PlainAsync:
    """The same, a call for each request, on the event loop."""

    @api
    async def predict(self, row: Annotated[np.ndarray, Array("float32", (64,))]) -> np.ndarray:
        """Return zeros."""
        return np.zeros(10) if len(row) else row


@service
class PlainSync:
    """The same, on the runner's thread."""

    @api
    def predict(self, row: Annotated[np.ndarray, Array("float32", (64,))]) -> np.ndarray:
        """Return zeros."""
        return np.zeros(10) if len(row) else row
