"""One serving process: everything is made here, after any fork or spawn."""

import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spanserve.config.load import Loaded
from spanserve.config.model import Config
from spanserve.server.app import App, create_app
from spanserve.service.bundle.load import LoadedService
from spanserve.tracing.model.span import AttributeValue, Resource
from spanserve.tracing.plugins.registry import LoadedTracer
from spanserve.tracing.tracing import Tracing


@dataclass(frozen=True, slots=True)
class Worker:
    """Makes the app of one process."""

    loaded: Loaded
    service: LoadedService
    share: Path | None = None
    """A folder of the server's own, where it has several workers."""
    number: int = 0
    """Which of them this is; one that died is followed by another of its number."""
    url: str | None = None
    """Where the server is reached."""

    def app(self, tracers: Sequence[LoadedTracer]) -> App:
        """Build the app with these tracers."""
        config = self.loaded.config
        tracing = Tracing(tracers, config.tracing, resource_of(config, self.service))
        return create_app(
            config,
            self.service,
            tracing,
            share=self.share,
            number=self.number,
            sources=self.loaded.sources,
            url=self.url,
        )


def resource_of(config: Config, service: LoadedService) -> Resource:
    """Return what all spans of this process have in common."""
    name = config.tracing.service_name or service.name
    attributes: dict[str, AttributeValue] = {
        **config.tracing.resource_attributes,
        "service.name": name,
        "service.instance.id": str(uuid.uuid4()),
        "process.pid": os.getpid(),
    }
    if service.version:
        attributes.setdefault("service.version", service.version)
    return Resource(name, attributes)
