"""The provisioner's commands, for people and for CI scripts."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import FrameType

from servers.cache import ServersError, default_cache, duration
from servers.jaeger import JaegerServer, jaeger_server
from servers.releases import RELEASES, cached, fetch, unavailable
from servers.zipkin import ZipkinServer, zipkin_server

_ABOUT = """\
Real Zipkin and Jaeger servers for the tests, unmodified.

Each is fetched once, in the version that the tests are written for, and kept in a cache
outside the repository. Zipkin is a jar: it needs `mvn` once, and Java to run. Jaeger is
built from its released source: it needs `go` once, and minutes; then it stands alone.
The tests skip a server that is not in the cache; with CI=true that is a failure.
"""
_EXAMPLES = """\
examples:
  python tests/servers fetch              all three; what is cached is not made again
  python tests/servers fetch zipkin       only that one
  python tests/servers run jaeger         in the foreground, until Ctrl-C; prints its addresses
  python tests/servers list               what is cached, and why what is not cannot be run

The cache is in XDG_CACHE_HOME, or where this platform keeps caches; `list` prints it.
Delete a folder in it to have that server made again.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, or 1 where something could not be had (2: bad usage)."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "fetch":
            return _fetch(options.names or list(RELEASES), options.jobs)
        if options.command == "run":
            return _run(options.name)
    except ServersError as error:
        return _complain(error)
    return _list()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python tests/servers",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    names = ", ".join(f"{each.name} ({each.version})" for each in RELEASES.values())
    fetching = commands.add_parser("fetch", help="put servers into the cache")
    fetching.add_argument(
        "names", nargs="*", metavar="NAME", help=f"all, or some of: {names}", type=_name
    )
    fetching.add_argument(
        "--jobs", type=int, help="processors that a build may use; by default all"
    )
    running = commands.add_parser("run", help="run one in the foreground, fetched if need be")
    running.add_argument("name", metavar="NAME", help=f"one of: {names}", type=_name)
    commands.add_parser("list", help="show versions, and what is in the cache")
    return parser


def _name(text: str) -> str:
    if text not in RELEASES:
        raise argparse.ArgumentTypeError(f"no server '{text}' (there are: {', '.join(RELEASES)})")
    return text


def _fetch(names: Sequence[str], jobs: int | None) -> int:
    code = 0
    for name in names:
        try:
            _print(str(fetch(RELEASES[name], jobs=jobs)))
        except ServersError as error:
            code = _complain(error)
    return code


def _run(name: str) -> int:
    missing = RELEASES[name].missing_to_run(os.environ.get("PATH"))
    if missing is not None:
        raise ServersError(f"{name} cannot run: {missing}")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with _server(name) as server:
            for what, address in server.addresses.items():
                _print(f"{what + ':':<22}{address}")
            _print(f"{'log:':<22}{server.log}\n{name} {server.version} runs; Ctrl-C stops it")
            signal.pause()
    except KeyboardInterrupt:
        _print("stopped")
    return 0


def _server(name: str) -> AbstractContextManager[ZipkinServer | JaegerServer]:
    if name == "zipkin":
        return zipkin_server()
    return jaeger_server(1 if name == "jaeger1" else 2)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _list() -> int:
    cache = default_cache()
    _print(f"cache: {cache.folder}")
    for name, release in RELEASES.items():
        receipt = cached(release, cache)
        state = unavailable(release, cache=cache) or "can be run"
        if receipt is not None:
            size = f"{receipt.size_bytes / 1e6:.0f} MB"
            state = f"cached, {size}, made in {duration(receipt.took_s)}; {state}"
        _print(f"{name:<8} {release.version:<8} {state}\n{'':<17} from {release.source}")
    return 0


def _complain(error: ServersError) -> int:
    print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command's own output
    return 1


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command's own output
