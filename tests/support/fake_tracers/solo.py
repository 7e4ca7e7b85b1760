"""A tracer that works in a process of its own, and does there what a file tells it."""

import logging
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from spanserve import ExportResult, Resource, Span, checkpoint, hookimpl

HOME = Path(os.environ["SOLO_HOME"]) if "SOLO_HOME" in os.environ else Path()


def told(word: str) -> bool:
    """Say whether the test asked for this."""
    return (HOME / word).exists()


class Solo:
    """Writes `pid trace name` lines."""

    @hookimpl
    def tracer_isolation(self) -> str:
        return "process"

    @hookimpl
    def tracer_started(self, resource: Resource) -> None:
        if os.getpid() == resource.attributes["process.pid"]:
            return
        if told("die at start"):
            os._exit(3)
        if told("raise at start"):
            raise OSError("no such device")
        if told("late"):  # a pipe, which the test closes
            (HOME / "late").read_bytes()

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> ExportResult | None:
        if told("die"):
            (HOME / "die").unlink()
            os._exit(4)
        if told("kill at each call"):
            os.kill(os.getpid(), signal.SIGKILL)
        while told("hang"):
            time.sleep(0.01)
        if told("wait"):
            checkpoint(60)
            (HOME / "waits").touch()
            time.sleep(60)
        if told("slow"):
            checkpoint(60)
            time.sleep(3)
        if told("retry"):
            (HOME / "retry").unlink()
            return ExportResult(delivered=1, retry=spans[1:], retry_after_s=0.0, reason="half")
        if told("raise"):
            raise OSError("the disk is gone")
        print("this must not disturb what the processes tell each other")  # noqa: T201
        with (HOME / "spans").open("a") as file:
            file.writelines(f"{os.getpid()} {span.trace_id} {span.name}\n" for span in spans)
        logging.getLogger("solo").warning("wrote %d spans", len(spans))
        return None

    @hookimpl
    def tracer_stopping(self) -> None:
        with (HOME / "stopped").open("a") as file:
            file.write(f"{os.getpid()}\n")
