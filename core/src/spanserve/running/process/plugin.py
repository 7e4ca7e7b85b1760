"""The runner `process`: what an entry point names."""

from spanserve.running.process.runner import ProcessRunner
from spanserve.running.process.settings import ProcessSettings
from spanserve.running.surroundings import Surroundings
from spanserve.running.wire.messages import Assignment


class Process:
    """The model in processes of its own, on this machine: `runner.type: process`."""

    settings = ProcessSettings
    has_replicas = True

    @staticmethod
    def runner(settings: ProcessSettings, around: Surroundings) -> ProcessRunner:
        """Make the runner of a service."""
        return ProcessRunner(
            settings,
            lambda startup: Assignment(
                around.service,
                around.logs,
                around.tracing.outgoing.rules,
                around.tracing.on,
                startup,
            ),
            around.tracing,
        )
