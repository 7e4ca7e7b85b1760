"""What became of a request as a frame carries it: results, and faults made plain."""

import logging
from collections.abc import Sequence
from typing import Any, Final

from pydantic_core import from_json, to_json

from spanserve.running.faults import status_of
from spanserve.running.wire.frames import LARGE, Frame, FrameError, unpacked
from spanserve.running.wire.values import PLAIN, Form, Parts, packed_value, plain, value_of
from spanserve.service.codecs.problems import InvalidResult
from spanserve.service.results import results as codec
from spanserve.service.results.private import EncodedJson
from spanserve.tracing.model.failure import Failure, failure_of

log = logging.getLogger(__name__)

_VALUE: Final = 0
_JSON: Final = 1
_FAULT: Final = 2
_READ: Final = 3
"""A plain value as it is: one that was read ahead."""

_TOGETHER: Final = 0
_EACH: Final = 1

MOST_KINDS: Final = 1_000
"""Names of exceptions of the service's that are told apart."""


class RemoteStack(Exception):  # noqa: N818  # it is no error, and shows in logs as the cause of one
    """Where an exception was raised, in another process."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class HostedError(Exception):
    """What the service's code raised in another process; subclasses have the names it had there.

    Like FastAPI's it may name an HTTP status, with a detail and headers.
    """

    status_code: int | None = None
    detail: Any = None
    headers: dict[str, str] | None = None


_kinds: dict[tuple[str, str], type[HostedError]] = {}


class Faults:
    """The faults of a frame that is made; the same exception stands there once."""

    def __init__(self) -> None:
        self.forms: list[Form] = []
        self._places: dict[int, int] = {}

    def add(self, error: BaseException) -> int:
        """Take in an exception; return its place."""
        place = self._places.get(id(error))
        if place is None:
            place = self._places[id(error)] = len(self.forms)
            self.forms.append(fault_form(error))
        return place


def fault_form(error: BaseException) -> Form:
    """Return an exception as plain data."""
    told = failure_of(error, 0)
    module, _, name = told.type.rpartition(".")
    stack = told.stack if error.__traceback__ is not None else ""
    is_result = isinstance(error, InvalidResult)
    message = str(error) if is_result else told.message
    return [module, name, message, stack, is_result, *_http(error)]


def _http(error: BaseException) -> Form:
    """Return the status, the detail and the headers that an exception names."""
    status = status_of(error)
    if status is None:
        return [None, None, None]
    try:
        detail = to_json(getattr(error, "detail", ""), inf_nan_mode="null")
        headers = {str(k): str(v) for k, v in (getattr(error, "headers", None) or {}).items()}
    except Exception:  # noqa: BLE001  # what a user's properties raise, and hold, may be anything
        log.warning("%s has a detail or headers that cannot be sent", type(error).__name__)
        return [None, None, None]
    return [status, detail, headers or None]


def fault_of(form: Form) -> Exception:
    """Return an exception that tells what one in another process did; raises FrameError."""
    try:
        module, name, message, stack, is_result, status, detail, headers = form
        error: Exception
        if is_result:
            error = InvalidResult(message)
        else:
            error = hosted = _kind(str(module), str(name))(message)
            if status is not None:
                hosted.status_code = status
                hosted.detail = from_json(detail)
                hosted.headers = headers
        if stack:
            error.__cause__ = RemoteStack(str(stack))
    except (TypeError, ValueError) as wrong:
        raise FrameError(f"a fault that is none: {wrong}") from wrong
    return error


def _kind(module: str, name: str) -> type[HostedError]:
    kind = _kinds.get((module, name))
    if kind is None:
        if len(_kinds) >= MOST_KINDS or not name.replace(".", "_").isidentifier():
            return HostedError
        simple = name.rpartition(".")[2]
        kind = type(
            simple, (HostedError,), {"__module__": module or "builtins", "__qualname__": name}
        )
        _kinds[module, name] = kind
    return kind


def failure_form(failure: Failure | None) -> Form | None:
    """Return a failure as plain data."""
    return None if failure is None else list(failure)


def failure_from(form: Form | None) -> Failure | None:
    """Return it again; raises FrameError."""
    if form is None:
        return None
    try:
        time_ns, kind, message, stack = form
        return Failure(int(time_ns), str(kind), str(message), str(stack))
    except (TypeError, ValueError) as error:
        raise FrameError(f"a failure that is none: {error}") from error


def packed_results(results: Sequence[Any], parts: Parts, faults: Faults) -> Form:
    """Return private results as data."""
    whole = plain(results)
    if whole is not None and (len(whole) <= LARGE or len(results) == 1):
        return [_TOGETHER, whole]
    return [_EACH, [packed_result(each, parts, faults) for each in results]]


def packed_result(result: Any, parts: Parts, faults: Faults) -> Form:
    """Return a private result, or a fault in its place, as data."""
    if isinstance(result, BaseException):
        return [_FAULT, faults.add(result)]
    if type(result) is EncodedJson:
        return [_JSON, bytes(result)]
    form = packed_value(result, parts)
    if form is not None:
        return [_VALUE, form]
    try:
        return [_JSON, codec.encode(result, where="the method")]
    except InvalidResult as error:
        return [_FAULT, faults.add(error)]


def results_of(form: Form, frame: Frame, faults: Sequence[Exception], count: int) -> list[Any]:
    """Return the results of a batch; raises FrameError."""
    try:
        kind, content = form
        if kind == _TOGETHER:
            results = unpacked(content)
        else:
            results = [result_of(each, frame, faults) for each in content]
    except (TypeError, ValueError, IndexError) as error:
        raise FrameError(f"results that are none: {error}") from error
    if type(results) is not list or len(results) != count:
        raise FrameError(f"not {count} results")
    return results


def read_ahead(form: Any) -> None:
    """Read the plain ones of a batch's results, each in its place: on a thread, one by one.

    What is no result is left as it is; `results_of` will say so.
    """
    match form:
        case [kind, [*_] as results] if kind == _EACH:
            for each in results:
                match each:
                    case [wanted, [packing, bytes(packed)]] if (wanted, packing) == (_VALUE, PLAIN):
                        each[:] = _READ, unpacked(packed)


def result_of(form: Form, frame: Frame, faults: Sequence[Exception]) -> Any:
    """Return one result, or the fault in its place; raises FrameError, and what reading raises."""
    kind, content = form
    if kind == _VALUE:
        return value_of(content, frame, _no_body)
    if kind == _JSON:
        return EncodedJson(content)
    if kind == _FAULT:
        return faults[content]
    if kind == _READ:
        return content
    raise FrameError(f"a result of no kind: {kind!r}")


def _no_body(_body: bytes) -> Any:
    raise FrameError("a result that is a body")
