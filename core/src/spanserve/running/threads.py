"""The runner `thread`: what an entry point names."""

from typing import Any

from spanserve.config.section import Section
from spanserve.running.host import Host
from spanserve.running.methods import methods_of
from spanserve.running.protocol import Runner
from spanserve.running.surroundings import Surroundings
from spanserve.running.thread import ThreadRunner


class ThreadSettings(Section):
    """`runner` with `type: thread`: there is nothing to say of it."""


class Thread:
    """The model on a thread of the server: `runner.type: thread`, the default."""

    settings = ThreadSettings
    has_replicas = False

    @staticmethod
    def runner(_settings: Any, around: Surroundings) -> Runner:
        """Make the runner of a service."""
        service, tracing = around.service, around.tracing

        def starting() -> Any:
            return tracing.starting(service.name)

        host = Host(service.instantiate, methods_of(service.spec), tracing, starting)
        return ThreadRunner(host, tracing.clock)
