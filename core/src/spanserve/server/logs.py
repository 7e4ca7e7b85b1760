"""How the server's log looks: one line an event, with the ids of the trace it belongs to."""

import logging
from typing import Any

from spanserve.tracing.scope import current_trace


class TraceFormatter(logging.Formatter):
    """Adds the current trace and span to lines that are written inside one."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        line = super().formatMessage(record)
        ids = current_trace()
        if ids is None:
            return line
        return f"{line} trace={ids.trace_id} span={ids.span_id}"


def logging_config(level: str) -> dict[str, Any]:
    """Return the `logging.config` dictionary of a server that logs to stderr."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": TraceFormatter,
                "format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s",
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level.upper()},
        # What uvicorn says of its own start and stop is said better by spanserve.
        "loggers": {
            "uvicorn.error": {"level": "WARNING" if level == "info" else level.upper()},
            "uvicorn.access": {"level": "INFO"},
        },
    }
