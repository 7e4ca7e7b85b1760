"""A replica of the service: a host, and where each kind of its methods runs."""

import asyncio
import inspect
import logging
import os
import queue
import socket
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import Future
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, Final

from spanserve.running.faults import CarriedError
from spanserve.running.host import Host
from spanserve.running.hosted.carried import carried_methods
from spanserve.running.hosted.in_host import (
    Customs,
    HostGate,
    HostTrail,
    packed_reply,
    request_of,
)
from spanserve.running.hosted.streaming import Streams, stepped
from spanserve.running.methods import HEALTHY
from spanserve.running.protocol import CallReply, CallRequest, Request
from spanserve.running.wire import messages
from spanserve.running.wire.frames import NO_ARENA, Arenas, Frame, packed
from spanserve.running.wire.messages import Assignment
from spanserve.running.wire.traces import Form, place_in_host
from spanserve.running.wire.values import Parts
from spanserve.service.failures import explained
from spanserve.service.results.chunks import chunk
from spanserve.tracing.admission.outgoing import Outgoing
from spanserve.tracing.otel.provider import join_opentelemetry
from spanserve.tracing.scope import entered

log = logging.getLogger(__name__)

Work = Callable[[], None]


class Hosted:
    """Runs what the server asks, and replies."""

    def __init__(
        self,
        assignment: Assignment,
        connection: socket.socket,
        arenas: Arenas,
        inbox: "queue.SimpleQueue[Work | None]",
    ) -> None:
        self._connection = connection
        self._arenas = arenas
        self._inbox = inbox
        self._sending = threading.Lock()
        self._service = service = assignment.service
        self._apis = {api.name: api for api in service.spec.apis}
        self._gate = gate = HostGate(Outgoing(assignment.outgoing))
        self._startup = place_in_host(assignment.startup)
        if assignment.traces:
            join_opentelemetry()
        methods = carried_methods(service.spec)
        self._methods = methods
        self._host = Host(service.instantiate, methods, gate)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pools: dict[str, queue.SimpleQueue[Work | None]] = {}
        self._streams = Streams(self)
        self._tasks: dict[int, asyncio.Task[None]] = {}

    # -- the main thread

    def run(self) -> None:
        """Make the instance, and work until the server says stop; then end the process."""
        try:
            with entered(self._gate.scope(*self._startup)):
                self._host.start()
                self._start_beside()
                if (warm_up := self._async_method("warm_up")) is not None:
                    self.awaited(warm_up())
        except BaseException as error:  # noqa: BLE001  # told to the server, whatever it is
            self._failed(error)
            return
        self.send(
            [messages.READY, os.getpid(), self._taken(self._startup.record, messages.STARTUP)]
        )
        while (work := self._inbox.get()) is not None:
            try:
                work()
            except BaseException:  # no job, and nothing it runs, may end this thread
                log.exception("a job of the replica failed")
            del work
        self._close()

    def _close(self) -> None:
        try:
            if (close := self._async_method("close")) is not None:
                self.awaited(close())
            self._host.close()
        except Exception:
            log.exception("the service's close() failed")
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)  # whatever threads the service has left

    def _failed(self, error: BaseException) -> None:
        own = (error.__cause__ if isinstance(error, CarriedError) else error) or error
        service = self._service
        said = explained(f"{service.name} cannot start", own, service.home.folder)
        self.send([messages.FAILED, said])
        logging.shutdown()
        os._exit(1)

    # -- what runs beside it

    def _start_beside(self) -> None:
        """Start an event loop and pools, where the service has any use for them."""
        spec = self._service.spec
        names = ("warm_up", "close", "healthy")
        optional = [self._async_method(name) for name in names]
        if any(api.asynchronous or api.streams for api in spec.apis) or any(optional):
            started: Future[asyncio.AbstractEventLoop] = Future()
            threading.Thread(
                target=self._run_loop, args=(started,), daemon=True, name="loop"
            ).start()
            self._loop = started.result()
        for api in spec.apis:
            if api.threads > 1:
                pool = self._pools[api.name] = queue.SimpleQueue()
                for number in range(api.threads):
                    name = f"spanserve-{api.name}-{number}"
                    threading.Thread(target=_work, args=(pool,), daemon=True, name=name).start()

    def _run_loop(self, started: "Future[asyncio.AbstractEventLoop]") -> None:
        async def forever() -> None:
            started.set_result(asyncio.get_running_loop())
            await asyncio.Event().wait()

        asyncio.run(forever())

    def awaited(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Await something on the event loop, from another thread."""
        assert self._loop is not None  # noqa: S101  # an async method has one
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _async_method(self, name: str) -> Callable[[], Coroutine[Any, Any, Any]] | None:
        method = getattr(self._host.instance, name, None)
        return method if inspect.iscoroutinefunction(method) else None

    # -- the reader's thread

    def told(self, frame: Frame) -> None:
        """Take in what the server says."""
        kind, *content = frame.content
        if kind in {messages.BATCH, messages.CALL}:
            token, arena, *asked = content
            self._place(asked[0])(partial(self._run, token, arena, asked, frame))
        elif kind == messages.STOP:
            self._inbox.put(None)
        elif kind == messages.METRICS:
            threading.Thread(target=self._collect, args=content, daemon=True).start()
        elif self._loop is not None:
            self._loop.call_soon_threadsafe(self._on_loop, kind, content, frame)

    def _place(self, method: str) -> Callable[[Work], None]:
        """Return what has a job of this method run."""
        if method in self._pools:
            return self._pools[method].put
        asynchronous = (
            self._apis[method].asynchronous
            if method in self._apis
            else inspect.iscoroutinefunction(getattr(self._host.instance, "healthy", None))
        )
        if not asynchronous:
            return self._inbox.put
        assert self._loop is not None  # noqa: S101  # an async method has one
        return self._loop.call_soon_threadsafe  # type: ignore[return-value]  # whatever it returns

    def _on_loop(self, kind: int, content: list[Any], frame: Frame) -> None:
        if kind == messages.STREAM:
            token, given, *asked = content
            self._streams.start(token, given, asked, frame)
        elif kind == messages.NEXT:
            self._streams.go_on(content[0])
        elif kind == messages.CANCEL:
            self._streams.cancel(content[0])
            if (task := self._tasks.get(content[0])) is not None:
                task.cancel()

    # -- where a job runs

    def _run(self, token: int, arena: int, asked: list[Any], frame: Frame) -> None:
        request = self.request(asked, frame)
        method = self._methods[asked[0]].call
        if inspect.iscoroutinefunction(method):
            assert isinstance(request, CallRequest)  # noqa: S101  # batches are not async
            task = asyncio.get_running_loop().create_task(self._run_async(token, request))
            self._tasks[token] = task
            task.add_done_callback(lambda _: self._tasks.pop(token, None))
            return
        trail = HostTrail()
        reply = self._host.run(request, trail)
        self.reply(token, request, trail, reply, arena)

    async def _run_async(self, token: int, request: CallRequest) -> None:
        trail = HostTrail()
        reply = await self._host.run_async(request, trail)
        self.reply(token, request, trail, reply, NO_ARENA)

    async def yielded(self, given: str, request: CallRequest) -> AsyncGenerator[bytes, None]:
        """Yield what a stream's method does, encoded as it is yielded."""
        api = self._apis[request.method]
        encode = api.plain_codec.encode

        def encoded(value: Any) -> bytes:
            return chunk(value, given, api.returns, encode, api.route)

        with entered(self._gate.scope(*request.place)):
            method: Callable[..., Any] = self._methods[request.method].call
            call = method(self._host.instance, **request.arguments)
            if not api.asynchronous:
                async with aclosing(stepped(call, encoded, self._inbox.put)) as chunks:
                    async for each in chunks:
                        yield each
                return
            async with aclosing(call) as values:
                async for each in values:
                    yield encoded(each)

    @property
    def now_ns(self) -> Callable[[], int]:
        """The monotonic clock."""
        return self._gate.now_ns

    def request(self, asked: list[Any], frame: Frame) -> Request:
        """Return what the server asks."""
        return request_of(asked, frame, self._decode)

    def _decode(self, method: str, body: bytes) -> Any:
        api = self._apis[method]
        return api.batch_codec.decode_again(body) if api.batch else api.plain_codec.decode(body)

    def reply(self, token: int, request: Request, trail: HostTrail, reply: Any, arena: int) -> None:
        """Send what became of a request."""
        if isinstance(request, CallRequest) and request.method == HEALTHY and not reply.error:
            answer = reply.result
            reply = CallReply(True if answer else repr(answer)[:_MOST_CHARS], None)
        parts = Parts()
        form = packed_reply(reply, parts)
        customs = self._taken(request.place.record, token)
        content = [messages.REPLY, token, form, trail.packed(), customs]
        self.send(content, parts, arena)

    def _taken(self, record: Any, token: int) -> Form:
        return list(Customs(record, token, self._late).taken(self._gate.now_ns()))

    def _late(self, token: int, custom: Form | None) -> None:
        with suppress(OSError):
            self.send([messages.LATE, token, custom])

    def send(self, content: Form, parts: Parts | None = None, arena: int = NO_ARENA) -> None:
        """Send a message, from any thread."""
        buffers = parts.buffers if parts is not None else ()
        frame = packed(content, buffers, arenas=self._arenas, arena=arena)
        with self._sending:
            for part in frame:
                self._connection.sendall(part)

    def _collect(self, token: int) -> None:
        from spanserve.running.hosted.collecting import collected  # noqa: PLC0415

        self.send([messages.COLLECTED, token, collected()])


_MOST_CHARS: Final = 200


def _work(inbox: "queue.SimpleQueue[Work | None]") -> None:
    while (work := inbox.get()) is not None:
        try:
            work()
        except BaseException:  # as on the main thread
            log.exception("a job of the replica failed")
        del work
