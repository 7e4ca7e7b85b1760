"""`GET` and `PATCH /tracing`: what is recorded, changed while serving, and for a while only.

Who asks must know the token. Workers of one server share a file: the one that is asked writes
what it was told, and the others look for it once a second.
"""

import asyncio
import hmac
import json
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from fastapi import FastAPI, HTTPException, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import Headers

from spanserve.server.http.exchange import Receive, Scope, Send
from spanserve.server.routes import error_responses
from spanserve.tracing.admission.sampling import Rules
from spanserve.tracing.tracing import Tracing

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
LONGEST_S: Final = 86_400


_ERRORS: Final = error_responses({401: "The token is missing or wrong"})
_UNREAD: Final = {400: "The body is not JSON", 422: "The body is no such change"}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class KeepRules(_Body):
    """What is kept of what was not sampled."""

    errors: bool = Field(default=False, description="Requests that failed")
    slower_than_ms: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Requests that took longer"
    )


class RulesBody(_Body):
    """What is recorded."""

    sample_rate: float
    keep: KeepRules


class Change(_Body):
    """What to record from now on; what is not named stays as it is."""

    sample_rate: Annotated[float, Field(ge=0, le=1)] | None = None
    keep: KeepRules | None = None
    for_s: Annotated[float, Field(gt=0, le=LONGEST_S)] = Field(
        default=600, description="Seconds until the configuration holds again"
    )


class InForce(RulesBody):
    """What is recorded now, until when, and what the configuration says."""

    until: datetime | None = None
    configured: RulesBody


class _Told(NamedTuple):
    rules: Rules
    until_s: float


class Control:
    """The rules in force, until they expire; `share` is the file of several workers, if any."""

    def __init__(self, tracing: Tracing, share: Path | None) -> None:
        self._tracing = tracing
        self._share = share
        self._until_s: float | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._seen_ns = 0

    def in_force(self) -> InForce:
        """Return what is recorded now."""
        until_s = self._until_s
        until = None if until_s is None else datetime.fromtimestamp(until_s, UTC)
        now = _shown(self._tracing.rules)
        configured = RulesBody(**_shown(self._tracing.configured))
        return InForce(**now, until=until, configured=configured)

    def change(self, change: Change) -> None:
        """Record by other rules from now on, here and in the other workers."""
        rules = self._tracing.rules
        if change.sample_rate is not None:
            rules = rules._replace(sample_rate=change.sample_rate)
        if (keep := change.keep) is not None:
            rules = Rules(rules.sample_rate, keep.errors, keep.slower_than_ms)
        told = _Told(rules, time.time() + change.for_s)
        if self._share is not None:
            self._tell_others(self._share, told)
        self._apply(told)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Look, meanwhile, for what the other workers were told."""
        looking = asyncio.create_task(self._look()) if self._share is not None else None
        try:
            yield
        finally:
            if looking is not None:
                looking.cancel()
            if self._expiry is not None:
                self._expiry.cancel()

    def _tell_others(self, share: Path, told: _Told) -> None:
        draft = share.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps([told.rules, told.until_s]), encoding="utf-8")
        self._seen_ns = draft.stat().st_mtime_ns
        draft.replace(share)

    async def _look(self) -> None:
        assert self._share is not None  # noqa: S101  # else nobody looks
        while True:
            with suppress(FileNotFoundError):
                changed_ns = self._share.stat().st_mtime_ns
                if changed_ns != self._seen_ns:
                    self._seen_ns = changed_ns
                    rules, until_s = json.loads(self._share.read_text(encoding="utf-8"))
                    self._apply(_Told(Rules(*rules), until_s))
            await asyncio.sleep(LOOK_EVERY_S)

    def _apply(self, told: _Told) -> None:
        left_s = told.until_s - time.time()
        if left_s <= 0:  # a worker that was started after it expired
            return
        if self._expiry is not None:
            self._expiry.cancel()
        self._until_s = told.until_s
        self._tracing.apply(told.rules)
        # In no context: it would log with the ids of the request that asked for the change.
        loop, nowhere = asyncio.get_running_loop(), Context()
        self._expiry = loop.call_later(left_s, self._expire, context=nowhere)

    def _expire(self) -> None:
        self._expiry = self._until_s = None
        self._tracing.apply(self._tracing.configured)
        log.info("tracing goes by its configuration again")


def add_control(app: FastAPI, control: Control, token: str) -> None:
    """Add the routes to the app, for whoever has the token."""

    async def show() -> InForce:
        """Say what is recorded."""
        return control.in_force()

    async def change(request: Request, change: Change) -> InForce:
        """Change what is recorded, for a while."""
        control.change(change)
        client = request.client.host if request.client else "somebody"
        now = control.in_force()
        log.info("%s changed tracing until %s: %s", client, now.until, now.model_dump_json())
        return now

    kind = _route_class(token)
    for answer, method, errors in (
        (show, "GET", _ERRORS),
        (change, "PATCH", _ERRORS | error_responses(_UNREAD)),
    ):
        app.router.add_api_route(
            "/tracing",
            answer,
            methods=[method],
            tags=["operations"],
            responses=errors,
            route_class_override=kind,
        )


def _route_class(token: str) -> type[APIRoute]:
    """Return a route that asks for the token before anything of the body is read."""

    class ControlRoute(APIRoute):
        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
            right = hmac.compare_digest(given.strip().encode(), token.encode())
            if scheme.lower() != "bearer" or not right:
                raise HTTPException(
                    401, "tracing.control.token is wanted", {"WWW-Authenticate": "Bearer"}
                )
            await super().handle(scope, receive, send)

    return ControlRoute


def _shown(rules: Rules) -> dict[str, Any]:
    rate, errors, slower_than_ms = rules
    keep = KeepRules(errors=errors, slower_than_ms=slower_than_ms)
    return {"sample_rate": rate, "keep": keep}
