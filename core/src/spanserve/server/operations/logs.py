"""How the server's log looks: one line an event, with the ids of the trace it belongs to."""

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any, Final, Literal

from spanserve.tracing.scope import current_request_id, current_trace

_OWN_FIELDS: Final = frozenset(
    {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message"}
)


_CONTROL: Final = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""What moves a terminal's cursor, ends a line for some reader, or turns the direction of text."""
_CONTINUED: Final = "  | "
"""What the further lines of an event begin with, so that nobody's text is taken for an event."""


class TextFormatter(logging.Formatter):
    """Adds the current trace and span to lines that are written inside one.

    Only an event of the log begins at a line's start: further lines, of a message or a traceback,
    are set off. Control characters are escaped, whoever they come from.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the event's lines."""
        lines = super().format(record).split("\n")
        return f"\n{_CONTINUED}".join(_CONTROL.sub(_escaped, line) for line in lines)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        line = super().formatMessage(record)
        ids = current_trace()
        if ids is None:
            return line
        return f"{line} trace={ids.trace_id} span={ids.span_id}"


class JsonFormatter(logging.Formatter):
    """Writes an object a line: time, level, logger, message; ids, exception and extras if any.

    What a caller gives as `extra` stands beside them, as text where JSON has nothing like it.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry: dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (ids := current_trace()) is not None:
            entry["trace_id"], entry["span_id"] = ids.trace_id, ids.span_id
        if request_id := current_request_id():
            entry["request_id"] = request_id
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            entry["stack"] = self.formatStack(record.stack_info)
        for name, value in vars(record).items():
            if name not in _OWN_FIELDS:
                entry.setdefault(name, value)
        return _CONTROL.sub(_escaped_json, json.dumps(entry, default=str, ensure_ascii=False))


def _escaped(control: re.Match[str]) -> str:
    return control[0].encode("unicode_escape").decode("ascii")


def _escaped_json(control: re.Match[str]) -> str:
    return f"\\u{ord(control[0]):04x}"  # they are in texts only


def logging_config(level: str, form: Literal["text", "json"] = "text") -> dict[str, Any]:
    """Return the `logging.config` dictionary of a server that logs to stderr."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "text": {
                "()": TextFormatter,
                "format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s",
            },
            "json": {"()": JsonFormatter},
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": form}},
        "root": {"handlers": ["stderr"], "level": level.upper()},
        # What uvicorn says of its own start and stop is said better by spanserve.
        "loggers": {
            "uvicorn.error": {"level": "WARNING" if level == "info" else level.upper()},
        },
    }
