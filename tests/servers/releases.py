"""Which servers there are, in which versions, and whether this machine can have them."""

import os
import sys
from pathlib import Path
from typing import Final, Protocol

from servers.cache import Cache, Receipt, Say, ServersError, Workshop, default_cache
from servers.recipes import GoProgram, MavenJar


class Release(Protocol):
    """A server of a version, that can be made and run."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def source(self) -> str: ...

    def file(self, folder: Path) -> Path: ...

    def missing_to_run(self, path: str | None) -> str | None: ...

    def missing_to_fetch(self, path: str | None) -> str | None: ...

    def make(self, shop: Workshop) -> None: ...


ZIPKIN: Final = MavenJar(
    name="zipkin",
    version="3.6.1",
    group="io.zipkin",
    artifact="zipkin-server",
    classifier="exec",
    java=17,
    source="io.zipkin:zipkin-server:3.6.1:exec, with Maven",
)

# Jaeger's v2 tags are no versions for Go, whose module path lacks the /v2. v1.76.0 was released
# as v2.13.0, too (its changelog has them as one), and holds the program of v2: cmd/jaeger.
JAEGER2: Final = GoProgram(
    name="jaeger",
    version="2.13.0",
    module="github.com/jaegertracing/jaeger",
    module_version="v1.76.0",
    package="cmd/jaeger",
    source="github.com/jaegertracing/jaeger v1.76.0 (which is v2.13.0), with Go",
)

# Of those that `go install` takes the newest. Its all-in-one has the agent, so UDP 6831.
JAEGER1: Final = GoProgram(
    name="jaeger1",
    version="1.48.0",
    module="github.com/jaegertracing/jaeger",
    module_version="v1.48.0",
    package="cmd/all-in-one",
    source="github.com/jaegertracing/jaeger v1.48.0, with Go",
)

RELEASES: Final[dict[str, Release]] = {each.name: each for each in (ZIPKIN, JAEGER2, JAEGER1)}


def key_of(release: Release) -> str:
    """Return the name of a release's folder in the cache."""
    return f"{release.name}-{release.version}"


def fetch(
    release: Release, *, jobs: int | None = None, say: Say | None = None, cache: Cache | None = None
) -> Path:
    """Return the file to run, made first where the cache has none.

    `jobs` is how many processors a build may use, all of them by default. Raises ServersError.
    """
    cache = cache or default_cache()
    if cache.receipt(key_of(release)) is None:
        missing = _missing_to_fetch(release, os.environ.get("PATH"))
        if missing is not None:
            raise ServersError(f"{release.name} {release.version} cannot be fetched: {missing}")
    jobs = jobs or os.cpu_count() or 1
    receipt = cache.get(key_of(release), release.make, jobs=jobs, say=say or say_on_stderr)
    return release.file(receipt.folder)


def unavailable(
    release: Release, *, cache: Cache | None = None, path: str | None = None
) -> str | None:
    """Say why a release cannot be run here and now, None where it can.

    What is not in the cache counts as unavailable: fetching may take minutes, and is for a
    person or a CI script to ask for. `path` is what to search for tools, by default PATH.
    """
    cache = cache or default_cache()
    path = os.environ.get("PATH") if path is None else path
    what = f"{release.name} {release.version}"
    missing = release.missing_to_run(path)
    if missing is not None:
        return f"real {what} cannot run: {missing}"
    if cached(release, cache) is not None:
        return None
    missing = _missing_to_fetch(release, path)
    if missing is not None:
        return f"real {what} is not in the cache and cannot be fetched: {missing}"
    return f"real {what} is not in the cache; run: python tests/servers fetch {release.name}"


def cached(release: Release, cache: Cache) -> Receipt | None:
    """Return what is known of a release that is in the cache."""
    return cache.receipt(key_of(release))


def say_on_stderr(text: str) -> None:
    """Print a line of progress."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - for the person who waits


def _missing_to_fetch(release: Release, path: str | None) -> str | None:
    if sys.platform == "win32":
        return "the provisioner is for Linux and macOS"
    return release.missing_to_fetch(path)
