"""A tracer's settings for whoever is no server, as a command that the tracer adds."""

import os
from pathlib import Path

from pydantic import BaseModel

from spanserve.config.load import load
from spanserve.tracing.plugins.registry import load_plugin


def settings_of(tracer: str, file: Path | None = None) -> BaseModel:
    """Return a tracer's settings as a server would read them, whether it is selected or not.

    From this file, or the one that SPANSERVE_CONFIG names, and from the environment. Raises
    ConfigError.
    """
    loaded = load(file, os.environ, {})
    section = loaded.config.tracing.sections.get(tracer, {})
    return load_plugin(tracer).configured(section, loaded.sources).settings
