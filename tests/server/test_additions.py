"""Routes that tracers add to the app: what they are told, and where they are refused."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from starlette.responses import PlainTextResponse

from spanserve import ConfigError, Span, api, hookimpl, service
from support.serving import TracerLike, serving


class Settings(BaseModel):
    """The settings of a tracer with pages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    colour: str = "blue"


class Pages:
    """A tracer that adds what it is made with, and keeps spans."""

    def __init__(self, add: Callable[[FastAPI], None], untraced: Any = ()) -> None:
        self.add = add
        self.untraced = untraced
        self.told: list[tuple[BaseModel, str | None]] = []
        self.spans: list[Span] = []

    @hookimpl
    def tracer_settings(self) -> type[BaseModel]:
        return Settings

    @hookimpl
    def extend_app(
        self, app: FastAPI, settings: BaseModel, server_url: str | None
    ) -> Sequence[str]:
        self.told.append((settings, server_url))
        self.add(app)
        found: Sequence[str] = self.untraced
        return found

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> None:
        self.spans += spans


class OldPages:
    """The same as it was written before the hook had more arguments."""

    @hookimpl
    def extend_app(self, app: FastAPI) -> None:
        app.add_route("/old", page)


async def page(_: Any) -> PlainTextResponse:
    return PlainTextResponse("seen")


def below(path: str) -> Callable[[FastAPI], None]:
    return lambda app: app.mount(path, PlainTextResponse("seen"))


def at(path: str, *methods: str) -> Callable[[FastAPI], None]:
    return lambda app: app.add_route(path, page, methods=list(methods) or None)


@service
class Shop:
    @api
    def predict(self, number: int) -> int:
        return number

    @api(route="/traces")
    def traces(self, number: int) -> int:
        return number

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        app.add_route("/own/{name}", page)
        app.mount("/files", PlainTextResponse("a file"))


def test_it_is_told_its_settings_and_leaves_its_own_routes_out_of_tracing() -> None:
    pages = Pages(below("/traces"), ["/traces/*"])
    tracers: list[TracerLike] = [("pages", pages, {"colour": "red"}), ("old", OldPages(), {})]
    with serving(Shop, tracers=tracers) as server:
        assert httpx.get(f"{server.url}/traces/here").text == "seen"
        assert httpx.get(f"{server.url}/old").text == "seen"
        assert httpx.post(f"{server.url}/traces", json=1).json() == 1
    assert pages.told == [(Settings(colour="red"), None)]
    roots = [span.attributes for span in pages.spans if span.parent_id is None]
    assert sorted(str(each["url.path"]) for each in roots) == ["/old", "/traces"]


@pytest.mark.parametrize(
    ("add", "words"),
    [
        (at("/predict", "POST"), "adds POST /predict, and the service has POST /predict"),
        (below("/predict"), None),
        (at("/predict", "GET"), None),
        (at("/own/page"), "adds GET /own/page, and the service has GET /own/{name}"),
        (at("/{anything}"), "adds GET /{anything}, and the service has GET"),
        (at("/files/mine"), "and the service has everything below /files"),
        (below("/own"), "adds everything below /own, and the service has GET /own/{name}"),
        (below("/files"), "adds everything below /files, and the service has everything below"),
        (below("/files/inner"), "and the service has everything below /files"),
        (at("/metrics"), "adds GET /metrics, and the service has GET /metrics"),
        (at("/docs"), "adds GET /docs, and the service has GET /docs"),
    ],
)
def test_a_route_that_is_anothers_stops_the_start(
    add: Callable[[FastAPI], None], words: str | None
) -> None:
    tracers: list[TracerLike] = [("pages", Pages(add), {})]
    if words is None:
        with serving(Shop, tracers=tracers) as server:
            assert httpx.post(f"{server.url}/predict", json=1).json() == 1
        return
    with (
        pytest.raises(ConfigError, match=re.escape(words)) as caught,
        serving(Shop, tracers=tracers),
    ):
        raise AssertionError("it served")
    assert "\n" not in str(caught.value)
    assert "leave 'pages' out of tracing.type" in str(caught.value)


def test_two_tracers_with_one_route_stop_the_start() -> None:
    tracers: list[TracerLike] = [("one", Pages(at("/page")), {}), ("two", Pages(at("/page")), {})]
    words = "tracer 'two' adds GET /page, and the service has GET /page"
    with pytest.raises(ConfigError, match=words), serving(Shop, tracers=tracers):
        raise AssertionError("it served")


@pytest.mark.parametrize("untraced", [["/predict"], ["/*"], ["/own/*"], ["/metr*"]])
def test_it_leaves_none_of_the_others_routes_out_of_tracing(untraced: list[str]) -> None:
    words = "wants to leave .* out of tracing, which is not its own"
    tracers: list[TracerLike] = [("pages", Pages(at("/page"), untraced), {})]
    with pytest.raises(ConfigError, match=words), serving(Shop, tracers=tracers):
        raise AssertionError("it served")


@pytest.mark.parametrize("untraced", ["/page", ["page"], [7], 7])
def test_what_is_no_list_of_paths_stops_the_start(untraced: Any) -> None:
    tracers: list[TracerLike] = [("pages", Pages(at("/page"), untraced), {})]
    with (
        pytest.raises(ConfigError, match=r"tracer 'pages' .* failed in extend_app"),
        serving(Shop, tracers=tracers),
    ):
        raise AssertionError("it served")
