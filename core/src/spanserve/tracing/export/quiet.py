"""What an exporter sends is nobody's request: instrumentation of its clients leaves it alone."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

_CONTEXT: Final = "opentelemetry.context"


@contextmanager
def without_instrumentation() -> Iterator[None]:
    """Tell OpenTelemetry's instrumentation, where it is loaded, to trace nothing meanwhile."""
    context: Any = sys.modules.get(_CONTEXT)
    if context is None:
        yield
        return
    # OpenTelemetry's own processors use these private keys; there is no public way. HTTP clients
    # look at the second, where there is a client below a client that is traced.
    quiet = context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, True)  # noqa: SLF001
    quiet = context.set_value(context._SUPPRESS_HTTP_INSTRUMENTATION_KEY, True, quiet)  # noqa: SLF001
    token = context.attach(quiet)
    try:
        yield
    finally:
        context.detach(token)
