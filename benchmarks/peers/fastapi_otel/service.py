"""FastAPI with uvicorn, no batching; OTEL_MODE=on adds OpenTelemetry, to Zipkin at ZIPKIN_URL.

Then `/metrics` counts the spans, and those that its queue dropped. PEER_PARTS says what else is in
force: a key, CORS, a dependency.
"""

import asyncio
import os
import secrets
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any

import joblib
import numpy as np
from fastapi import Depends, FastAPI, Header, HTTPException, Response, Security
from fastapi.middleware.cors import CORSMiddleware
from fastapi.security import APIKeyHeader
from pydantic import BaseModel

KIND = os.environ["PEER_MODEL"]
PARTS = os.environ.get("PEER_PARTS", "").split(",")


async def key(x_api_key: Annotated[str, Header()]) -> None:
    """Ask for a key, as FastAPI's documentation does."""
    if not secrets.compare_digest(x_api_key, os.environ["PEER_KEY"]):
        raise HTTPException(401, "the key is not known")


async def asynchronous() -> str:
    """Return at once."""
    return "a tenant"


def synchronous() -> str:
    """Return at once, on a thread."""
    return "a tenant"


async def header(x_tenant: Annotated[str, Header()] = "a tenant") -> str:
    """Return what a header says."""
    return x_tenant


DEPENDENCIES = {
    "key": Depends(key),
    "async": Depends(asynchronous),
    "sync": Depends(synchronous),
    "header": Depends(header),
    "security": Security(APIKeyHeader(name="x-key", auto_error=False)),
}
app = FastAPI(dependencies=[DEPENDENCIES[each] for each in PARTS if each in DEPENDENCIES])
if "cors" in PARTS:
    app.add_middleware(CORSMiddleware, allow_origins=["https://app.example.org"])
answered: Counter[str] = Counter()
one_device = ThreadPoolExecutor(1)  # one accelerator, not as many as there are threads


class Rows(BaseModel):
    """A request: one row or more, of any length."""

    rows: list[list[float]]


def no_span(_name: str) -> AbstractContextManager[Any]:
    """Return nothing to enter: what OTEL_MODE=off measures has no part of OpenTelemetry."""
    return nullcontext()


def instrumented() -> Callable[[str], AbstractContextManager[Any]]:
    """Instrument the app as OpenTelemetry's documentation does; return what starts a span."""
    from counted import Counted  # noqa: PLC0415  # only if it is on
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # noqa: PLC0415

    counted = Counted(os.environ["ZIPKIN_URL"])

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(counted.metrics(answered["requests"]))

    trace.set_tracer_provider(counted.provider)
    # Without the two spans of "http send" it is five a request: server, receive, and our three.
    FastAPIInstrumentor.instrument_app(
        app, tracer_provider=counted.provider, exclude_spans=["send"], excluded_urls="/metrics"
    )
    return trace.get_tracer("service").start_as_current_span


def noop(batch: np.ndarray) -> np.ndarray:
    """Return zeros."""
    return np.zeros((len(batch), 10))


def accelerator(batch: np.ndarray) -> np.ndarray:
    """Sleep 10 ms a run and 0.1 ms an item, and return zeros."""
    time.sleep((10 + 0.1 * len(batch)) / 1000)
    return np.zeros((len(batch), 10))


def model() -> Callable[[np.ndarray], np.ndarray]:
    """Return the model that PEER_MODEL names."""
    if KIND == "digits":
        predict: Callable[[np.ndarray], np.ndarray] = joblib.load(os.environ["MODEL"]).predict
        return predict
    return {"noop": noop, "accelerator": accelerator}[KIND]


span = instrumented() if os.environ.get("OTEL_MODE") == "on" else no_span
predict = model()


@app.post("/predict")
async def answer(request: Rows) -> dict[str, list[Any]]:
    """Decode, predict (on the loop if that takes microseconds, else on a thread), encode."""
    answered["requests"] += 1
    with span("decode"):
        batch = np.asarray(request.rows, dtype=np.float32)
    with span("predict"):
        if KIND == "noop":
            output = predict(batch)
        else:
            loop = asyncio.get_running_loop()
            output = await loop.run_in_executor(one_device, predict, batch)
    with span("encode"):
        return {"output": output.tolist()}
