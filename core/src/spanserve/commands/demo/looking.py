"""The demo's last part: where the time went, as the viewer tells it, and the viewer itself."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

from spanserve.commands.demo.job import Job
from spanserve.commands.demo.report import Report
from spanserve.commands.demo.sending import Clients
from spanserve.commands.demo.server import DemoServer
from spanserve.config.load import Loaded
from spanserve.service.bundle.load import load as load_service
from spanserve.tracing.plugins.registry import Registry, load_tracers

VIEWER: Final = "local"
PAGES: Final = "/traces/"
FETCH_TIMEOUT_S: Final = 10.0
LIGHT_CLIENTS: Final = 12
LIGHT_PAUSE_MS: Final = 400.0


@dataclass(frozen=True, slots=True)
class Stay:
    """What is served, and whether it goes on until somebody ends it, with a light load."""

    route: str
    bodies: list[list[float]]
    since_ms: float
    keep: bool


def viewer_is_installed() -> bool:
    """Whether traces can be looked at without a tracing server."""
    return VIEWER in Registry.installed().names()


def has_viewer(loaded: Loaded) -> bool:
    """Whether this configuration keeps traces where the viewer finds them."""
    return VIEWER in loaded.config.tracing.type


def look(report: Report, loaded: Loaded, folder: Path, stay: Stay) -> None:
    """Serve once more, print the breakdown, and stay there if asked to, until Ctrl-C."""
    if not (has_viewer(loaded) or stay.keep):
        return
    tracers = load_tracers(loaded.config.tracing, sources=loaded.sources)
    server = DemoServer(loaded, load_service(str(folder)), tracers)
    with Clients() as clients, server:
        if has_viewer(loaded):
            report.breakdown(stay.route, _breakdown(server.url, stay))
        if stay.keep:
            pages = f"{server.url}{PAGES}" if has_viewer(loaded) else None
            report.kept(f"{server.url}{stay.route}", pages, installed=viewer_is_installed())
            _load_lightly(clients, server.url, stay)


def _load_lightly(clients: Clients, url: str, stay: Stay) -> None:
    job = Job(url + stay.route, LIGHT_CLIENTS, 1, stay.bodies, LIGHT_PAUSE_MS)
    try:
        while True:
            clients.send(job, lambda _: None)
    except KeyboardInterrupt:
        return


def _breakdown(url: str, stay: Stay) -> Mapping[str, Any] | str:
    """Ask the server as the viewer does; a text where it will not say."""
    asked = urlencode({"endpoint": stay.route, "since_ms": stay.since_ms})
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(f"{url}{PAGES}api/breakdown?{asked}", timeout=FETCH_TIMEOUT_S) as answer:
            told: Mapping[str, Any] = json.load(answer)
    except HTTPError as error:
        with error:
            return f"not shown here: the viewer answered {error.code}"
    return told
