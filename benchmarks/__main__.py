"""`python benchmarks`: spanserve beside other servers, with tracing and without.

Needs Linux, two processors, wrk and uv. Each other server is installed in a virtual environment
of its own. Absolute figures are those of this machine and this hour: quote the ratios.
"""

import argparse
import os
import resource
from pathlib import Path

from bench import report, wrk
from bench.cells import Turns
from bench.servers import CACHE, HERE, install_peers, peer_entries
from bench.suites import CONNECTIONS, SUITES, TITLES, Plan
from spanserve.commands.loopback import keep_loopback_direct

SLOW_TO_START = ("ray",)
INTERLEAVED = 4
"""Seconds in short slices for each second of a turn."""

PAGE = HERE.parent / "docs" / "explanation" / "what-tracing-costs.md"


def main() -> None:
    """Measure, print, and write the docs' tables where asked to."""
    keep_loopback_direct(os.environ)
    given = _arguments()
    wrk.check()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _fitted_model()
    names = [each["name"] for each in peer_entries()]
    install_peers([name for name in names if not given.servers or name in given.servers])
    plan = Plan(
        Turns(given.rounds, given.seconds),
        given.connections,
        given.workloads,
        given.servers,
        interleaved_s=0 if given.quick else INTERLEAVED * given.seconds,
    )
    blocks = {"machine": report.machine(), "settings": report.settings()}
    for suite in given.suites:
        for each in SUITES[suite](plan):
            blocks[each.key] = report.block(each)
            print(f"\n{blocks[each.key]}\n", flush=True)
            if given.write:  # at once: what comes later may fail
                report.into_page(PAGE, {each.key: blocks[each.key]})
    print(f"{blocks['machine']}\n\n{blocks['settings']}")
    if given.write:
        report.into_page(PAGE, blocks)


def _arguments() -> argparse.Namespace:
    known = ["echo", "spanserve", *(each["name"] for each in peer_entries())]
    options = argparse.ArgumentParser(prog="python benchmarks", description=__doc__)
    options.add_argument("--rounds", type=int, default=6, help="turns of each server (6)")
    options.add_argument("--seconds", type=int, default=1, help="length of a turn (1)")
    options.add_argument("--connections", type=int, nargs="+", default=list(CONNECTIONS))
    options.add_argument("--workloads", nargs="+", choices=TITLES, default=list(TITLES))
    options.add_argument("--servers", nargs="+", choices=known, default=[], help="default: all")
    options.add_argument("--suites", nargs="+", choices=SUITES, default=list(SUITES))
    options.add_argument("--write", action="store_true", help=f"write the tables into {PAGE.name}")
    options.add_argument(
        "--quick", action="store_true", help="in two or three minutes: the most telling cells"
    )
    given = options.parse_args()
    if given.quick:
        given.rounds, given.connections, given.workloads = 1, [64], ["noop", "accelerator"]
        given.suites = ["comparison", "overhead"]
        given.servers = given.servers or [name for name in known if name not in SLOW_TO_START]
    return given


def _fitted_model() -> None:
    """Fit the digits model that all servers load, once."""
    path = Path(CACHE / "digits.joblib")
    if path.exists():
        return
    import joblib  # noqa: PLC0415  # an extra of the demo's; only this needs it
    from sklearn.datasets import load_digits  # noqa: PLC0415  # ditto
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  # ditto

    CACHE.mkdir(parents=True, exist_ok=True)
    images, labels = load_digits(return_X_y=True)
    joblib.dump(LogisticRegression(max_iter=1000).fit(images / 16, labels), path)


if __name__ == "__main__":
    main()
