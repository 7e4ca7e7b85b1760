"""A service that is run in processes of its own, and does there what a test asks of it."""

import asyncio
import contextvars
import logging
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import Depends, HTTPException, Response, UploadFile
from opentelemetry import trace
from prometheus_client import REGISTRY, Counter
from pydantic import BaseModel

from spanserve import Array, api, current_trace, outgoing_headers, service, span

log = logging.getLogger("replicated")
RUNS = Counter("replicated_runs", "Runs of things", registry=None)
with suppress(ValueError):  # in a process that loads this more than once, the first is told
    REGISTRY.register(RUNS)

Row = Annotated[np.ndarray, Array("float64", (4,))]
AnyRow = Annotated[np.ndarray, Array("float64", None)]


class Thing(BaseModel):
    """An item: its number, and what becomes of it."""

    number: int
    fate: str = "answer"
    marker: str = ""
    """A file: the fate is done only while it is not there."""

    takes_s: float = 0.0


def befall(thing: Thing) -> None:
    """Do what the fate of a thing says."""
    if thing.marker and Path(thing.marker).exists():
        return
    if thing.marker:
        Path(thing.marker).touch()
    if thing.fate == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif thing.fate == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif thing.fate == "exit":
        os._exit(7)
    elif thing.fate == "raise":
        raise ValueError(f"thing {thing.number}")
    elif thing.fate == "leave":
        raise SystemExit(3)


@service
class Replicated:
    """What its methods return tells what they were given."""

    def __init__(self) -> None:
        with span("loading"):
            self.number = int(os.environ.get("SPANSERVE_REPLICA", "-1"))

    @api(batch=True, max_batch_size=8)
    def things(self, things: list[Thing]) -> list[int]:
        """Do what each thing says, all in one run."""
        RUNS.inc()
        for thing in things:
            time.sleep(thing.takes_s)
            befall(thing)
        return [thing.number for thing in things]

    @api(batch=True, isolate=False)
    def once(self, things: list[Thing]) -> list[int]:
        """Do the same, and never twice."""
        for thing in things:
            befall(thing)
        return [thing.number for thing in things]

    @api(batch=True)
    def rows(self, rows: Row) -> np.ndarray:
        """Return the rows, changed."""
        rows += 1
        return rows

    @api(batch=True)
    def shapes(self, rows: AnyRow) -> list[np.ndarray]:
        """Return each as an array of its own."""
        return [row * 2 for row in rows]

    @api(batch=True, inline=True)
    def anything(self, items: list[Any]) -> list[Any]:
        """Return what was given."""
        return items

    @api(batch=True)
    def parting(self, items: list[int]) -> list[int]:
        """Open a span that outlives the run, and one only after that."""
        begun = threading.Event()

        def outlive() -> None:
            with span("outliving"):
                begun.set()
                time.sleep(0.1)
            with span("begun after"):
                time.sleep(0.01)

        def follow() -> None:
            time.sleep(0.1)
            with span("following"):
                pass

        opens = items[0] > 0
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(outlive if opens else follow,)).start()
        if opens:
            begun.wait()
        return items

    @api
    def plain(self, value: Any, other: Row | None = None) -> list[Any]:
        """Return the values and who ran it."""
        return [value, None if other is None else other.tolist(), self.number]

    @api
    def one(self, thing: Thing) -> int:
        """Do what a thing says, in a call."""
        befall(thing)
        return thing.number

    @api(retry=True)
    def again(self, thing: Thing) -> int:
        """Do the same, and once more where that ends the process."""
        befall(thing)
        return thing.number

    @api
    async def later(self, seconds: float) -> str:
        """Sleep on the event loop."""
        with span("sleeping"):
            await asyncio.sleep(seconds)
        return f"slept {seconds}"

    @api(threads=3)
    def pooled(self, number: int) -> int:
        """Return the number, from one of several threads."""
        return number

    @api
    async def tokens(self, count: int, fate: str = "answer") -> AsyncIterator[dict[str, Any]]:
        """Yield one object again and again."""
        state: dict[str, Any] = {"tokens": []}
        for token in range(count):
            state["tokens"].append(token)
            yield state
            if token == 1:
                befall(Thing(number=token, fate=fate))

    @api
    def steps(self, count: int) -> Iterator[list[int]]:
        """Yield one list again and again, without async."""
        state: list[int] = []
        for step in range(count):
            state.append(step)
            yield state

    @api
    def sized(self, file: UploadFile, note: str = "") -> list[Any]:
        """Tell what a form holds."""
        return [file.filename, file.file.read().decode(), note]

    @api
    def page(self) -> Response:
        """Answer with a response of its own."""
        return Response("<p>hello</p>", 203, {"X-Page": "1"}, "text/html")

    @api
    def opened(self, thing: Annotated[object, Depends(object)]) -> str:
        """Take what cannot be carried."""
        return type(thing).__name__

    @api
    def teapot(self) -> None:
        """Raise an HTTP answer."""
        raise HTTPException(418, {"short": "stout"}, headers={"X-Tea": "green"})

    @api
    def traced(self) -> dict[str, Any]:
        """Say where this runs in a trace."""
        with span("outer", size=3) as outer:
            outer.event("noticed", what="x")
            with trace.get_tracer("lib").start_as_current_span("library"):
                log.warning("inside")
            ids = current_trace()
            return {"headers": outgoing_headers(), "trace": ids and ids.trace_id}

    @api(batch=True)
    def spans(self, numbers: list[int]) -> list[int]:
        """Open spans in a batch, and fail for odd numbers."""
        with span("inner", size=len(numbers)):
            if any(number % 2 for number in numbers):
                raise ValueError("odd")
        return numbers

    @api
    async def leaving(self) -> str:
        """Leave a span open that ends after the answer."""

        async def after() -> None:
            with span("after"):
                await asyncio.sleep(0.2)

        self.task = asyncio.create_task(after())
        await asyncio.sleep(0)
        return "left"

    def healthy(self) -> bool:
        """Be healthy."""
        return True
