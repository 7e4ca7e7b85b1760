"""What can be said of processes under `runner`."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from spanserve.config.section import Count, Length, Section, Word, listed


def _devices(value: object) -> object:
    parts = listed(value)
    return tuple(map(str, parts)) if isinstance(parts, tuple) else parts


class ProcessSettings(Section):
    """`runner` with `type: process`: the model in processes of its own."""

    replicas: Count = Field(default=1, description="Processes, each with a model of its own")
    in_flight: Annotated[int, Field(ge=1, le=2)] = Field(
        default=1,
        description="Batches that a replica holds; 2: while it runs one, a full one waits there",
    )
    devices: Annotated[tuple[Word, ...], BeforeValidator(_devices)] = Field(
        default=(),
        description="What each replica sees in device_variable, one after the other and again from "
        "the first; none: what the server sees",
    )
    device_variable: Word = Field(
        default="CUDA_VISIBLE_DEVICES",
        description="The environment variable that tells a replica its device, before its code is "
        "imported",
    )
    hang_after_s: Length | None = Field(
        default=60,
        description="From when a run counts as one that hangs: its replica is killed and started "
        "anew; null: never",
    )
