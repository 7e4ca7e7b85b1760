"""Distributions on disk, as a package manager leaves them: metadata and entry points."""

from collections.abc import Mapping
from importlib.metadata import Distribution
from pathlib import Path

from spanserve.tracing.plugins.registry import GROUP, Registry


def install(folder: Path, name: str, version: str, tracers: Mapping[str, str]) -> Distribution:
    """Write the metadata of a distribution with these tracers (name: `module:attribute`)."""
    home = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    home.mkdir()
    (home / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = "".join(f"{tracer} = {target}\n" for tracer, target in tracers.items())
    (home / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}")
    return Distribution.at(home)


def registry_of(*distributions: Distribution) -> Registry:
    """Make a registry of nothing but these."""
    return Registry([each for one in distributions for each in one.entry_points])
