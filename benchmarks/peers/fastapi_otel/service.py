"""FastAPI with uvicorn, no batching; OTEL_MODE=on adds OpenTelemetry, to Zipkin at ZIPKIN_URL.

Then `/metrics` counts the spans, and those that its queue dropped.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import joblib
import numpy as np
from fastapi import FastAPI, Response
from pydantic import BaseModel

KIND = os.environ["PEER_MODEL"]
app = FastAPI()
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
