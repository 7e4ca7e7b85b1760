import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict, Field

from spanserve import ExportResult, Resource, Span, hookimpl


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path = Field(description="The file to append to")


class JsonLines:
    @hookimpl
    def tracer_settings(self) -> type[BaseModel]:
        return Settings

    @hookimpl
    def tracer_target(self, settings: Settings) -> str:
        return str(settings.path)

    @hookimpl
    def tracer_started(self, settings: Settings, resource: Resource) -> None:
        self.service = resource.service_name
        self.file: IO[str] = settings.path.open("a", encoding="utf-8")

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> ExportResult | None:
        for span in spans:
            line = {"service": self.service, "name": span.name, "trace_id": span.trace_id}
            self.file.write(json.dumps(line) + "\n")
        try:
            self.file.flush()
        except OSError as error:
            return ExportResult(retry=spans, reason=str(error))
        return None

    @hookimpl
    def tracer_stopping(self) -> None:
        self.file.close()
