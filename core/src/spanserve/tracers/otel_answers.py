"""What a backend answered to an exporter of OpenTelemetry's, which itself only says that it failed.

Two doors of the OTLP exporters are open to everybody. Over HTTP they take a `requests.Session`,
and ours notes each answer. Over gRPC they log a failed call while its error is being handled, and
a filter of their log finds it there. In both places the answer is raised, too, which ends the
retries that the exporters make within a call while all other spans have to wait.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from inspect import signature
from typing import Any, Final

from opentelemetry.sdk.trace.export import SpanExporter

from spanserve.tracing.export.answers import (
    Answer,
    Verdict,
    grpc_verdict,
    http_verdict,
    is_too_large,
    retry_after_s,
)

_SESSION: Final = "session"
_OWN_SESSIONS: Final = (
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER",
)
"""Where one of these is set, the exporter has a session that knows the credentials."""


USUAL_TIMEOUT_S: Final = 10.0
_TIMEOUTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")


class AnsweredError(Exception):
    """Carries the answer of a backend out of an exporter."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.reason)
        self.answer = answer


def with_session(make: type[SpanExporter], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of an exporter, with a session of ours where it takes one."""
    takes_one = _SESSION in signature(make).parameters and _SESSION not in options
    if not takes_one or any(map(os.environ.get, _OWN_SESSIONS)):
        return dict(options)
    return {**options, _SESSION: _answering_session()}


def timeout_of(options: Mapping[str, Any]) -> float:
    """Return how long a call of an exporter may take, as far as its options or variables say."""
    for value in (options.get("timeout"), *map(os.environ.get, _TIMEOUTS)):
        with suppress(TypeError, ValueError):
            return float(value or "")
    return USUAL_TIMEOUT_S


class Listener(logging.Filter):
    """Hears what this thread logs, keeps it out of the log, and raises what gRPC answered.

    `last` is the last message.
    """

    def __init__(self) -> None:
        super().__init__()
        self.last = ""
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        if threading.get_ident() != self._thread:
            return True
        error = sys.exception()
        if callable(getattr(error, "code", None)) and hasattr(error, "trailing_metadata"):
            raise AnsweredError(_grpc_answer(error))
        if record.levelno >= logging.WARNING:
            self.last = record.getMessage()
        return False


@contextmanager
def listening(loggers: Sequence[logging.Logger]) -> Iterator[Listener]:
    """Hear what these loggers are told meanwhile, whatever their levels."""
    listener = Listener()
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        # First of all: gRPC's exporter has a filter that passes the same message once in 20 s.
        logger.filters.insert(0, listener)
        if not logger.isEnabledFor(logging.WARNING):
            logger.setLevel(logging.WARNING)
    try:
        yield listener
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeFilter(listener)
            logger.setLevel(level)


def _answering_session() -> Any:
    requests: Any = import_module("requests")  # the exporter's own dependency

    class AnsweringSession(requests.Session):  # type: ignore[misc]  # its base is known at run time
        """A session that returns good answers alone, and notes and raises all others."""

        answer: Answer | None = None

        def request(self, *known: Any, **options: Any) -> Any:
            try:
                response = self._answered(*known, **options)
            except (requests.RequestException, OSError) as error:
                self.answer = Answer(Verdict.LATER, _failure(error))
                raise AnsweredError(self.answer) from error
            self.answer = _http_answer(response)
            if self.answer.verdict is Verdict.TAKEN:
                return response
            raise AnsweredError(self.answer)

        def _answered(self, *known: Any, **options: Any) -> Any:
            """Ask, and once more where a connection that was kept open had been closed."""
            try:
                return super().request(*known, **options)
            except requests.Timeout:
                raise
            except requests.ConnectionError:
                return super().request(*known, **options)

    return AnsweringSession()


def _http_answer(response: Any) -> Answer:
    return Answer(
        http_verdict(response.status_code),
        f"answered {response.status_code} {response.reason or ''}".strip(),
        retry_after_s(response.headers.get("Retry-After"), now_s=time.time()),
    )


def _failure(error: BaseException) -> str:
    """Say why no answer came: the operating system's words, which name no address."""
    if any(kind.__name__ == "Timeout" for kind in type(error).__mro__):
        return "no answer in time"
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return f"cannot connect: {seen.strerror}"
        seen = seen.__cause__ or seen.__context__
    return f"no answer: {type(error).__name__}"


def _grpc_answer(error: Any) -> Answer:
    code, details = error.code().name, str(error.details() or "")
    return Answer(
        grpc_verdict(code, details),
        f"answered {code}: {details}" if details else f"answered {code}",
        _retry_delay_s(dict(error.trailing_metadata() or ())),
    )


def _retry_delay_s(trailers: Mapping[str, Any]) -> float | None:
    """Return the RetryInfo of an answer, be it in its status or in a field of its own."""
    plain, status = (
        trailers.get("google.rpc.retryinfo-bin"),
        trailers.get("grpc-status-details-bin"),
    )
    if not (plain or status):
        return None
    kinds: Any = import_module("google.rpc.error_details_pb2")  # gRPC's exporter depends on it
    info = kinds.RetryInfo()
    try:
        if plain:
            info.ParseFromString(plain)
            return float(info.retry_delay.ToTimedelta().total_seconds())
        details = import_module("google.rpc.status_pb2").Status.FromString(status).details
        found = any(detail.Unpack(info) for detail in details)
        return float(info.retry_delay.ToTimedelta().total_seconds()) if found else None
    except Exception:  # noqa: BLE001  # the bytes are the other side's: they are no wish then
        return None


def answer_of(listener: Listener, session: Any, what_failed: str) -> Answer:
    """Return what came of a call that failed, as far as it can be known."""
    noted: Answer | None = getattr(session, "answer", None)
    if noted is not None and noted.verdict is not Verdict.TAKEN:
        return noted
    verdict = Verdict.TOO_LARGE if is_too_large(listener.last) else Verdict.LATER
    return Answer(verdict, listener.last or f"{what_failed} failed")
