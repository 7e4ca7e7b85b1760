"""What holds for all tests: Ctrl-C is heard; a skip is said, and in CI it is a failure."""

import gc
import logging
import os
import signal
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, settings

from spanserve.commands.loopback import keep_loopback_direct

pytest_plugins = ("support.processes", "support.real_servers", "support.viewing")


def pytest_configure() -> None:
    """Let all that tests start hear Ctrl-C: what a script runs in the background ignores it.

    And let them reach each other where a proxy is set for the rest of the world, and keep what
    they compile: hundreds of servers are started, and half of a start would be compiling.
    How long an example takes says nothing where two processes test at once.
    """
    keep_loopback_direct(os.environ)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    settings.register_profile(
        "untimed", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("untimed")
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what starts real servers; leave out what needs httptools in the run without it.

    That is the run of `test_plain_install`.
    """
    for item in items:
        if _starts_real_server(item):
            item.add_marker("real_servers")
    if find_spec("httptools") is None:
        needy = [item for item in items if item.get_closest_marker("needs_httptools")]
        config.hook.pytest_deselected(items=needy)
        items[:] = [item for item in items if item not in needy]


def pytest_collection_finish() -> None:
    """Keep what all tests have in common out of the garbage collector's way: it is large."""
    gc.collect()
    gc.freeze()


def _starts_real_server(item: pytest.Item) -> bool:
    """Whether it asks for a fixture of a real server, or has the name of one as a parameter."""
    fixtures = getattr(item, "fixturenames", ())
    parameters = getattr(getattr(item, "callspec", None), "params", {}).values()
    words = [*fixtures, *(each for each in parameters if isinstance(each, str))]
    return any(word.startswith(("real_", "real ")) for word in words)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in CI that the skips, which are listed above with their reasons, fail the run."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped and os.environ.get("CI") == "true":
        terminalreporter.write_line(f"{len(skipped)} skipped: in CI nothing may be", red=True)


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Fail the run in CI where a test was skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and reporter.stats.get("skipped") and os.environ.get("CI") == "true":
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    yield


@pytest.fixture(autouse=True)
def _process_as_it_was() -> Iterator[None]:
    """Give back what a command that was run in this process has set for all of it."""
    root = logging.getLogger()
    handlers = list(root.handlers)
    levels = {name: logging.getLogger(name).level for name in (None, "uvicorn.error")}
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    for handler in [each for each in root.handlers if each not in handlers]:
        if type(handler) is logging.StreamHandler:  # the server's own, and none of pytest's
            root.removeHandler(handler)
    for number, before in signals.items():
        signal.signal(number, before)
