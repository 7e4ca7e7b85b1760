"""A service that logs wherever its code runs."""

import logging
from collections.abc import Mapping

import numpy as np

from spanserve import api, current_trace, service, span

log = logging.getLogger("talkative")


def ids() -> Mapping[str, str]:
    """Return the ids that a line written here must carry."""
    trace = current_trace()
    return {} if trace is None else {"asked_trace": trace.trace_id, "asked_span": trace.span_id}


@service
class Talkative:
    def __init__(self) -> None:
        log.info("made", extra=ids())

    @api(batch=True)
    def batched(self, numbers: np.ndarray) -> np.ndarray:
        """Log in a batch."""
        with span("inner"):
            log.info("batched", extra={**ids(), "rows": len(numbers), "odd": {1, 2} - {2}})
        return numbers

    @api
    def plain(self) -> None:
        """Log on the runner, with an exception."""
        try:
            int("a number\nof two lines")
        except ValueError:
            log.exception("plain %d", 1, extra=ids())

    @api
    async def soon(self) -> None:
        """Log on the event loop."""
        log.warning('soon "ü"', extra=ids())
