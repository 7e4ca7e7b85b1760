"""Chromium, a page of it that is watched, and a real server with traces to look at.

Without the dependency group `browser` the tests that use it are deselected, not skipped.
"""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from support.serving import DEADLINE_S, subprocess_server, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SERVICE = Path(__file__).parent / "services/viewed.py"
SECRET = "open-sesame-open-sesame"
WANTED = ("chromium", "chromium-browser", "google-chrome")
REQUESTS = 60


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a browser where the group of dependencies is not there."""
    if find_spec("playwright") and find_spec("axe_playwright_python"):
        return
    needy = [item for item in items if "chromium" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=needy)
    items[:] = [item for item in items if item not in needy]


def configuration(folder: Path, **server: object) -> dict[str, str]:
    """Return the environment of a server that keeps its traces in a folder."""
    return {
        "SPANSERVE__TRACING__TYPE": "local",
        "SPANSERVE__TRACING__LOCAL__PATH": str(folder / "traces.db"),
        "SPANSERVE__SERVER__TRACE_HEADERS": "true",
        **{f"SPANSERVE__{name}": str(value) for name, value in server.items()},
    }


class watched:  # noqa: N801  # used as a function
    """A page that may say nothing on the console, break no policy, and ask no other host."""

    def __init__(self, browser: "Browser", **options: Any) -> None:
        size: Any = {"width": options.pop("width", 1280), "height": 800}
        self._context = browser.new_context(viewport=size, **options)
        self._wrong: list[str] = []
        self._hosts: set[str] = set()

    def __enter__(self) -> "Page":
        page = self._context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda said: self._said(said.type, said.text))
        page.on("pageerror", lambda error: self._wrong.append(str(error)))
        page.on("dialog", lambda dialog: self._wrong.append(f"dialog: {dialog.message}"))
        page.on("request", lambda asked: self._hosts.add(httpx.URL(asked.url).netloc.decode()))
        return page

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._context.close()
        if kind is None:
            assert self._wrong == []
            assert len(self._hosts) <= 1

    def _said(self, kind: str, text: str) -> None:
        expected = "Failed to load resource"  # what the browser says of any 401 or 404
        if kind in {"error", "warning"} and not text.startswith(expected):
            self._wrong.append(f"{kind}: {text}")


def comes(page: "Page", expression: str, argument: object = None) -> None:
    """Wait until an expression of the page is true; its policy forbids the page to wait itself."""
    assert until(lambda: page.evaluate(expression, argument)), (expression, page.url)


@pytest.fixture(scope="session")
def chromium() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  # of the group `browser`

    program = next(filter(None, map(shutil.which, WANTED)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(WANTED)} is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve, with some traces of all kinds; yields its address."""
    folder = tmp_path_factory.mktemp("traces")
    with subprocess_server(str(SERVICE), env=configuration(folder)) as running:
        send_some(running.url)
        assert until(lambda: kept(running.url) >= REQUESTS + 2), running.text()
        yield running.url


def send_some(url: str) -> None:
    """Send words at once, so that they share batches, and one that fails, and evil."""
    with httpx.Client(base_url=url, timeout=DEADLINE_S) as client, ThreadPoolExecutor(12) as pool:
        words = ["word" * (each % 12 + 1) for each in range(REQUESTS)]
        list(pool.map(lambda word: client.post("/measure", json=word), words))
        hostile = {"User-Agent": "<script>document.title='hostile'</script>"}
        client.post("/measure", json="evil", headers=hostile)
        client.post("/measure", json="bad")
        client.post("/echo", json="word")


def kept(url: str) -> int:
    """Return how many requests the server has kept so far."""
    endpoints = httpx.get(f"{url}/traces/api/endpoints").json()["endpoints"]
    return sum(each["requests"] for each in endpoints if each["endpoint"] == "/measure")


@pytest.fixture
def page(chromium: "Browser") -> "Iterator[Page]":
    """A page of 1280 by 800 pixels; what it must never do fails the test."""
    with watched(chromium) as page:
        yield page
