"""Streamed answers of a service that runs in other processes."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

from starlette.background import BackgroundTasks
from starlette.requests import HTTPConnection
from starlette.responses import Response

from spanserve.batching.call import Call
from spanserve.errors import ServiceError
from spanserve.running.process.replica import Stream
from spanserve.running.process.runner import ProcessRunner
from spanserve.running.protocol import CallRequest
from spanserve.service.spec import ServiceSpec

_OF_THE_SERVER: Final = (HTTPConnection, Response, BackgroundTasks)


def check_carried(spec: ServiceSpec, runner: str) -> None:
    """Raise ServiceError where a method is to be given what is the server's alone."""
    for api in spec.apis:
        for parameter in api.injected:
            kind = parameter.annotation
            if not api.batch and isinstance(kind, type) and issubclass(kind, _OF_THE_SERVER):
                raise ServiceError(
                    f"{spec.cls.__qualname__}.{api.name}: {parameter.name!r} is a {kind.__name__}, "
                    f"which cannot go to the runner '{runner}'; take what you need of it with "
                    "Header(), Query() or Depends(), or set runner.type to thread"
                )


async def everywhere(runner: ProcessRunner, question: Callable[[], Call]) -> Any:
    """Call a method of each replica; return the first answer that is not True, or True.

    Raises what one of them raises.
    """
    calls = [question() for _ in runner.up]
    for replica, call in zip(runner.up, calls, strict=True):
        runner.spawn(call, replica)
    answers = await asyncio.gather(*(call.future for call in calls))
    return next((each for each in answers if each is not True), True)


async def streamed(runner: ProcessRunner, call: Call, given: str) -> AsyncGenerator[bytes, None]:
    """Yield what a method yields in another process, encoded there; it goes on when asked to.

    Whoever closes this ends the generator there.
    """
    request = call.request()
    assert isinstance(request, CallRequest)  # noqa: S101  # a call's
    stream = Stream(request, call)
    go_on, cancel = runner.stream(stream, given)
    try:
        while (value := await stream.values.get()) is not None:
            yield value
            go_on()
        await call.future
    finally:
        cancel()
        call.future.cancel()
