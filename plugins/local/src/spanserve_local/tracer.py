"""The hooks of the local tracer."""

import logging
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spanserve import ConfigError, ExportResult, Resource, Span, hookimpl
from spanserve_local.pages.viewer import PREFIX, Viewer
from spanserve_local.place import file_of, make_private
from spanserve_local.settings import LocalSettings
from spanserve_local.store.reader import Reader
from spanserve_local.store.schema import WrongFileError, writing
from spanserve_local.store.writer import Writer

if TYPE_CHECKING:
    from fastapi import FastAPI

log = logging.getLogger(__name__)

_AGAIN_AFTER_S = 1.0
_WORKER = "SPANSERVE_WORKER"


class Local:
    """Keeps spans in a file, and shows them under /traces/."""

    def __init__(self) -> None:
        self._writer: Writer | None = None
        self._reader: Reader | None = None
        self._viewer: Viewer | None = None

    @hookimpl
    def tracer_settings(self) -> type[LocalSettings]:
        return LocalSettings

    @hookimpl
    def tracer_isolation(self) -> str:
        return "process"

    @hookimpl
    def tracer_target(self, settings: LocalSettings) -> str:
        return str(file_of(settings.path))

    @hookimpl
    def extend_app(
        self, app: "FastAPI", settings: LocalSettings, server_url: str | None
    ) -> Sequence[str]:
        self._viewer = Viewer(settings, server_url)
        self._viewer.add_to(app)
        if server_url is not None and os.environ.get(_WORKER, "0") == "0":  # once, not by each
            log.info("see traces at %s%s/", server_url, PREFIX)
        return self._viewer.paths

    @hookimpl
    def tracer_started(self, settings: LocalSettings, resource: Resource) -> None:
        file = file_of(settings.path)
        make_private(file)
        _check(file)
        self._reader = Reader(file)
        self._writer = Writer(
            file, resource, max_bytes=settings.max_bytes, max_age_s=settings.max_age
        )

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> ExportResult:
        if self._writer is None:
            raise RuntimeError("export_spans was called outside tracer_started … tracer_stopping")
        try:
            broken, failure = self._writer.append(spans)
        except sqlite3.OperationalError as error:
            if _is_busy(error):
                return ExportResult(retry=spans, retry_after_s=_AGAIN_AFTER_S, reason=str(error))
            return ExportResult(rejected=len(spans), reason=str(error))
        except (sqlite3.Error, ConfigError, OSError) as error:
            return ExportResult(rejected=len(spans), reason=str(error))
        return ExportResult(delivered=len(spans) - broken, rejected=broken, reason=failure)

    @hookimpl
    def trace_url(self, trace_id: str) -> str | None:
        return self._viewer.trace_url(trace_id) if self._viewer else None

    @hookimpl
    def find_trace(self, trace_id: str) -> bool | None:
        return self._reader.has(trace_id) if self._reader else None

    @hookimpl
    def tracer_stopping(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._reader is not None:
            self._reader.close()
        if self._viewer is not None:
            self._viewer.close()
        self._writer = self._reader = None


def _check(file: Path) -> None:
    """Bring the file up to date; raises WrongFileError for one of a newer spanserve."""
    try:
        writing(file).close()
    except WrongFileError:
        raise
    except sqlite3.Error as error:
        log.warning("traces cannot be written to %s now: %s", file, error)


def _is_busy(error: sqlite3.OperationalError) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what SQLite adds to it
    return code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
