"""Fixtures: real servers, run once for all tests that use them.

A test module asks for them with `pytest_plugins = ("support.real_servers",)`. Where one cannot
be run here the test is skipped and says why; `conftest.py` makes a failure of that in CI.
Tests share a server: they tell their traces from others' by ids or by a service name.
"""

from collections.abc import Callable, Iterator

import pytest

from servers import (
    JAEGER1,
    JAEGER2,
    ZIPKIN,
    JaegerServer,
    ZipkinServer,
    jaeger_server,
    unavailable,
    zipkin_server,
)
from servers.releases import Release
from support.queries import JaegerQueries, Queries, ZipkinQueries


def need(release: Release) -> None:
    """Skip the test where this release cannot be run here and now."""
    reason = unavailable(release)
    if reason is not None:
        pytest.skip(reason)


def queries_of(server: ZipkinServer | JaegerServer) -> Queries:
    """Return what asks this server."""
    if isinstance(server, ZipkinServer):
        return ZipkinQueries(server.url)
    return JaegerQueries(server.url, major=server.major)


@pytest.fixture(scope="session")
def real_zipkin(request: pytest.FixtureRequest) -> Iterator[ZipkinServer]:
    """A real Zipkin."""
    need(ZIPKIN)
    with zipkin_server(keep_log=_any_failed(request)) as server:
        yield server
        _name_log(request, server)


@pytest.fixture(scope="session")
def real_jaeger(request: pytest.FixtureRequest) -> Iterator[JaegerServer]:
    """A real Jaeger v2."""
    need(JAEGER2)
    with jaeger_server(2, keep_log=_any_failed(request)) as server:
        yield server
        _name_log(request, server)


@pytest.fixture(scope="session")
def real_jaeger1(request: pytest.FixtureRequest) -> Iterator[JaegerServer]:
    """A real Jaeger v1, with its agent."""
    need(JAEGER1)
    with jaeger_server(1, keep_log=_any_failed(request)) as server:
        yield server
        _name_log(request, server)


def _any_failed(request: pytest.FixtureRequest) -> Callable[[], bool]:
    return lambda: request.session.testsfailed > 0


def _name_log(request: pytest.FixtureRequest, server: ZipkinServer | JaegerServer) -> None:
    """Say after failures where the server's log is: it is kept then."""
    if request.session.testsfailed:
        print(f"the log of the real {server.name}: {server.log}")  # noqa: T201 - pytest shows it
