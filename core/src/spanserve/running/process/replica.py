"""One replica of the service, as the server sees it: its process, and the jobs that it holds."""

import asyncio
import logging
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from spanserve.running.process.late import LateSpansOf
from spanserve.running.process.link import Link
from spanserve.running.process.spawning import Spawned
from spanserve.running.protocol import BatchRequest, CallRequest, Job, Place, Request
from spanserve.running.wire import messages
from spanserve.running.wire.frames import NO_ARENA, Frame, FrameError
from spanserve.running.wire.replies import replayed, reply_of
from spanserve.running.wire.requests import packed_request
from spanserve.running.wire.values import NotCarriedError
from spanserve.tracing.export.process.restarts import ended_by
from spanserve.tracing.tracing import Tracing

log = logging.getLogger(__name__)

RUNNER_TYPE: Final = "process"

_PATIENCE_S: Final = 1.0


@dataclass(slots=True, eq=False)
class Held:
    """A job that a replica holds; one that takes a slot has an arena of its own."""

    job: Job
    request: Request
    arena: int
    sent_ns: int


@dataclass(slots=True, eq=False)
class Stream:
    """A streamed answer: what it yielded and was not taken yet, and how it ends."""

    request: CallRequest
    job: Job
    values: "asyncio.Queue[bytes | None]" = field(default_factory=asyncio.Queue)


class Replica:
    """A process with a host, from its start to its end; another of its number follows it."""

    def __init__(
        self,
        number: int,
        spawned: Spawned,
        tracing: Tracing,
        *,
        slots: int,
        startup: Place,
        started: Callable[["Replica"], None],
        freed: Callable[[], None],
        ended: Callable[["Replica", str], None],
    ) -> None:
        self.number = number
        self._runner = RUNNER_TYPE, number
        self.process: subprocess.Popen[bytes] = spawned.process
        self._tracing = tracing
        self._started, self._freed, self._ended = started, freed, ended
        self._arenas = list(range(slots))
        self._startup = startup
        self._next_token = 0
        self.slots: dict[int, Held] = {}
        """The jobs in its slots, the oldest first: that one runs."""

        self.beside: dict[int, Held] = {}
        self.streams: dict[int, Stream] = {}
        self.asked: dict[int, asyncio.Future[Any]] = {}
        self._late = LateSpansOf(tracing)
        self.is_up = False
        self.failed_with = ""
        self.free_ns = 0
        self.since_ns = 0
        """Since when its oldest job has run, as far as is known here."""

        self._link = Link(
            spawned.connection,
            spawned.requests,
            spawned.replies,
            told=self._told,
            ended=self._is_over,
        )

    @property
    def free(self) -> int:
        """How many jobs it would take."""
        return len(self._arenas) if self.is_up else 0

    @property
    def load(self) -> int:
        """How many jobs it has."""
        return len(self.slots) + len(self.beside) + len(self.streams)

    def submit(self, job: Job, request: Request) -> None:
        """Have it run a job, in a slot."""
        arena = self._arenas.pop()
        now_ns = self._tracing.now_ns()
        if not self.slots:
            self.since_ns = now_ns
        try:
            self._send(self.slots, Held(job, request, arena, now_ns))
        except NotCarriedError:
            self._arenas.append(arena)
            raise

    def spawn(self, job: Job, request: CallRequest) -> int:
        """Have it run a call that takes no slot; return what it can be cancelled by."""
        return self._send(self.beside, Held(job, request, NO_ARENA, self._tracing.now_ns()))

    def stream(self, stream: Stream, given: str) -> int:
        """Have it run a generator."""
        _, form, parts = packed_request(stream.request, self._tracing.outgoing)
        token = self._token()
        self.streams[token] = stream
        stream.job.sent_to(self._runner)
        self._link.send([messages.STREAM, token, given, *form], parts.buffers)
        return token

    def go_on(self, token: int) -> None:
        """Have a generator yield its next value."""
        self._link.send([messages.NEXT, token])

    def cancel(self, token: int) -> None:
        """Give up a call or a generator."""
        given_up = self.streams.pop(token, None) or self.beside.pop(token, None)
        if given_up is not None:
            self._late.given_up(token, given_up.request.place.record)
        self._link.send([messages.CANCEL, token])

    async def metrics(self) -> Any:
        """Return the metrics that its service has made."""
        token = self._token()
        self.asked[token] = future = asyncio.get_running_loop().create_future()
        self._link.send([messages.METRICS, token])
        return await future

    def stop(self) -> None:
        """Have it close its service, and end."""
        self._link.send([messages.STOP])

    def kill(self, why: str) -> None:
        """End its process as it is."""
        self.failed_with = self.failed_with or why
        self.process.kill()

    def hang_up(self) -> None:
        """Listen no more, and end its process."""
        self._link.close()
        self.process.kill()

    def _token(self) -> int:
        self._next_token += 1
        return self._next_token

    def _send(self, among: dict[int, Held], held: Held) -> int:
        kind, form, parts = packed_request(held.request, self._tracing.outgoing)
        token = self._token()
        among[token] = held
        held.job.sent_to(self._runner)
        self._link.send([kind, token, held.arena, *form], parts.buffers, held.arena)
        return token

    # -- what it says

    def _told(self, frame: Frame) -> None:
        try:
            kind, *content = frame.content
            if kind == messages.REPLY:
                self._replied(frame, *content)
            elif kind == messages.VALUE:
                self._yielded(frame, *content)
            elif kind == messages.READY:
                self._late.replied(messages.STARTUP, self._startup.record, content[1])
                self.is_up = True
                self.free_ns = self._tracing.now_ns()
                self._started(self)
            elif kind == messages.FAILED:
                self.failed_with = str(content[0])
            elif kind == messages.LATE:
                self._ended_late(*content)
            elif kind == messages.COLLECTED:
                self._answered(*content)
        except (TypeError, ValueError) as wrong:
            raise FrameError(f"a message that is none: {wrong}") from wrong

    def _answered(self, token: int, answer: Any) -> None:
        future = self.asked.pop(token, None)
        if future is not None and not future.done():
            future.set_result(answer)

    def _replied(self, frame: Frame, token: int, form: Any, trail: Any, customs: Any) -> None:
        if (stream := self.streams.pop(token, None)) is not None:
            self._told_of(token, stream.job, stream.request, frame, form, trail, customs)()
            stream.values.put_nowait(None)
            return
        held = self.slots.get(token)
        among = self.slots if held is not None else self.beside
        held = held or self.beside.get(token)
        if held is None:  # it was given up, but what its code wrote down was not
            self._late.replied_in_vain(token, customs)
            return
        go_on = self._told_of(token, held.job, held.request, frame, form, trail, customs)
        del among[token]
        if among is self.slots:
            self._arenas.append(held.arena)
            self.free_ns = self.since_ns = self._tracing.now_ns()
        try:
            go_on()
        finally:
            if among is self.slots:
                self._freed()

    def _told_of(  # noqa: PLR0917  # a message's values
        self,
        token: int,
        job: Job,
        request: Request,
        frame: Frame,
        form: Any,
        trail: Any,
        spans: Any,
    ) -> Callable[[], None]:
        """Write down what was told of a job; return how to go on with it. Raises FrameError."""
        reply = reply_of(form, frame, request)
        size = len(request.values) if isinstance(request, BatchRequest) else 1
        self._late.replied(token, request.place.record, spans)
        replayed(trail, job, size)
        return lambda: job.replied(reply)

    def _yielded(self, frame: Frame, token: int) -> None:
        if (stream := self.streams.get(token)) is not None:
            stream.values.put_nowait(bytes(frame.data))

    def _ended_late(self, token: int, custom: Any) -> None:
        is_early = token in self.slots or token in self.beside or token in self.streams
        (self._late.overtook if is_early else self._late.told)(token, custom)

    # -- its end

    def _is_over(self, why: str) -> None:
        self.is_up = False
        for future in self.asked.values():
            future.cancel()
        loop = asyncio.get_running_loop()
        waiting = loop.run_in_executor(None, _ended, self.process)
        waiting.add_done_callback(lambda code: self._ended(self, self._how(why, code.result())))

    def _how(self, why: str, code: int) -> str:
        return self.failed_with or why or f"it died ({ended_by(code)})"


def _ended(process: "subprocess.Popen[bytes]") -> int:
    """Return the exit code of a process that hung up, which ends, or is ended."""
    try:
        return process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
