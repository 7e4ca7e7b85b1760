"""What is asked of a host, as a frame carries it."""

from typing import Any

import numpy as np

from spanserve.running.protocol import BatchRequest, CallRequest, Request
from spanserve.running.wire import messages
from spanserve.running.wire.frames import LARGE
from spanserve.running.wire.traces import packed_place
from spanserve.running.wire.values import (
    BODY,
    NotCarriedError,
    Parts,
    packed_value,
    packed_values,
)
from spanserve.tracing.admission.outgoing import Outgoing

Form = list[Any]


def packed_request(request: Request, outgoing: Outgoing) -> tuple[int, Form, Parts]:
    """Return what kind of message asks this, with which values; raises NotCarriedError."""
    parts = Parts()
    place = packed_place(request.place, outgoing)
    if isinstance(request, CallRequest):
        return messages.CALL, [request.method, _arguments(request, parts), place], parts
    assert isinstance(request, BatchRequest)  # noqa: S101  # there are two
    values = packed_values(request.values, request.bodies, parts)
    return messages.BATCH, [request.method, values, place, request.isolate_for_ns], parts


def _arguments(request: CallRequest, parts: Parts) -> Form:
    """Return the arguments of a call, and the body where some are made of it."""
    arguments, needs_body = {}, False
    is_large = request.body is not None and len(request.body) > LARGE
    for name, value in request.arguments.items():
        as_body = is_large and name in request.of_body and type(value) is not np.ndarray
        form = None if as_body else packed_value(value, parts)
        if form is None and (request.body is None or name not in request.of_body):
            raise NotCarriedError(
                f"{request.method}: the argument {name!r} ({type(value).__name__}) cannot go to "
                "another process; take plain values of it, or set runner.type to thread"
            )
        needs_body = needs_body or form is None
        arguments[name] = form or [BODY]
    return [arguments, request.body if needs_body else None]
