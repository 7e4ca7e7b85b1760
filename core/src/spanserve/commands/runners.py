"""`spanserve runners`: where a model can run, and what each place can be told."""

from collections.abc import Iterator, Sequence

from spanserve.commands.tracers import settings_rows
from spanserve.running.discovery import InstalledRunner


def listing(runners: Sequence[InstalledRunner]) -> Iterator[str]:
    """Yield the lines of the listing, a block for each runner."""
    for runner in runners:
        yield f"{runner.name}  ({runner.distribution} {runner.version})"
        if runner.settings_model is None:
            yield f"  error: {runner.error}"
        else:
            yield from settings_rows("runner", runner.settings_model)
