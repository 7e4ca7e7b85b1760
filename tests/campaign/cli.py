"""The campaign's command line, and what it prints."""

import argparse
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from campaign.run import Result, campaign
from campaign.scenarios import SCENARIOS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a campaign; return 1 where a request failed, a span was lost, or the end was bad."""
    names = {scenario.__name__: scenario for scenario in SCENARIOS}
    parser = argparse.ArgumentParser(prog="campaign", description=__doc__)
    parser.add_argument("--minutes", type=float, default=4.0, help="how long all of it lasts")
    parser.add_argument("--seed", type=int, default=1, help="of what is left to chance")
    parser.add_argument("--only", nargs="+", choices=names, help="these scenarios, beside quiet")
    options = parser.parse_args(arguments)
    chosen = [
        scenario
        for name, scenario in names.items()
        if not options.only or name in {"quiet", *options.only}
    ]
    console = Console()
    seconds = options.minutes * 60 / len(chosen)
    columns = TextColumn("{task.description:20}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("starts", total=len(chosen) + 1)

        def tell(name: str) -> None:
            progress.update(task, description=name, advance=1)

        result = campaign(chosen, seconds, options.seed, tell)
    show(result, console)
    return int(bool(result.failed or result.lost or result.exit_code))


def show(result: Result, console: Console) -> None:
    """Print what became of it."""
    table = Table("scenario", "requests", "failed", "p99 ms", "p99 / quiet", "memory MiB")
    for row in result.rows:
        p99_ms = row.found.p99_ms()
        failed = ", ".join(f"{count} {what}" for what, count in row.found.failed.items()) or "0"
        figures = f"{p99_ms:.1f}", f"{p99_ms / result.control_ms:.1f}", str(row.memory_mib)
        table.add_row(row.name, str(len(row.found.seconds)), failed, *figures)
    console.print(table)
    console.print(f"requests failed that should not have: {result.failed}")
    spans = ", ".join(f"{count} {what}" for what, count in result.spans.items())
    console.print(f"spans: {spans}; lost in silence: {result.lost}")
    start, peak, end = result.memory_mib
    console.print(f"memory: {start} MiB at the start, {peak} at most, {end} at the end")
    console.print(f"exit code of the server: {result.exit_code}")
