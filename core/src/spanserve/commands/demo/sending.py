"""The process of the clients, as the demo sees it: started early, ended in any case."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from spanserve.commands.demo.job import Job, Outcome
from spanserve.errors import SpanserveError


class Clients:
    """A context manager; the process starts at once, so that it imports while others work."""

    def __init__(self) -> None:
        # A session of its own: Ctrl-C on the terminal comes to the demo alone, which ends this.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "spanserve.commands.demo.clients"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        with contextlib.suppress(BrokenPipeError), self._process:
            pass

    def send(self, job: Job, done: Callable[[int], None]) -> Outcome:
        """Have a job done, one after the other; `done` is told how many requests are answered."""
        outcome = None
        with contextlib.suppress(BrokenPipeError):
            for message in self._messages(json.dumps(asdict(job))):
                if "done" in message:
                    done(message["done"])
                else:
                    outcome = Outcome(**message["outcome"])
                    break
        if outcome is None:
            raise SpanserveError("the demo's clients ended before they were done")
        return outcome

    def _messages(self, job: str) -> Iterator[dict[str, Any]]:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            return
        stdin.write(job + "\n")
        stdin.flush()
        for line in stdout:
            yield json.loads(line)
