"""Compare the batching policy with others, in simulated time.

    python benchmarks/simulator [--quick] [--only WORDS] [--drawn N] [--out DIRECTORY]

Every scenario, of the docs or drawn at random, is run with ours and with each setting of the
others; shown is each one's best.
The same command gives the same figures on any machine.
"""

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from simulator.compare import Choice, Result, compare
from simulator.plots import bars
from simulator.report import markdown, summary, text


def main() -> None:
    """Run, print, and write what was asked for."""
    options = _options()
    begin_s = time.monotonic()
    choice = Choice(options.only, options.drawn, options.seed)
    scale = 0.1 if options.quick else 1.0
    rows = compare(choice, scale=scale, jobs=options.jobs, told=_progress)
    if not rows:
        sys.exit(f"no scenario has {options.only!r} in its name")
    print(text(rows))
    print(f"\n{summary(rows)}; {time.monotonic() - begin_s:.0f} s")
    if options.out is not None:
        _write(options.out, rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/simulator",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the requests")
    parser.add_argument("--only", default="", metavar="WORDS", help="scenarios named so, e.g. 90%%")
    parser.add_argument(
        "--drawn", type=int, default=0, metavar="N", help="N scenarios drawn at random, instead"
    )
    parser.add_argument("--seed", type=int, default=1, help="what they are drawn by (1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes to use")
    parser.add_argument(
        "--out", type=Path, metavar="DIRECTORY", help="write batching.md and batching-*.svg there"
    )
    return parser.parse_args()


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if done == of else ""
        print(f"\r{done} of {of} scenarios", end=end, file=sys.stderr, flush=True)


def _write(folder: Path, rows: list[list[Result]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    closed = [results for results in rows if results[0].closed]
    opened = [results for results in rows if not results[0].closed]
    files = {
        "batching.md": markdown(rows),
        "batching-closed.svg": bars("Throughput in closed loops, of the best", closed),
        "batching-open.svg": bars("Mean latency in open loops: the best's / own", opened),
    }
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
        print(f"wrote {folder / name}")


if __name__ == "__main__":
    main()
