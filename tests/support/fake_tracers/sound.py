"""Tracers as their authors should write them."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from spanserve import ExportResult, Span, hookimpl


class FileLog:
    """The smallest tracer."""

    @hookimpl
    def span_ended(self, span: Span) -> None:
        """Print the span."""
        print(f"{span.name} {span.duration_ms:.1f} ms")  # noqa: T201  # what this tracer is for


file_log = FileLog()


class RemoteSettings(BaseModel):
    """The settings of `Remote`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(min_length=8, description="Where spans go")
    api_token: SecretStr = Field(default=SecretStr("hush"), description="Its token")
    timeout_s: float = Field(default=5, gt=0, description="How long one call may take")


class Remote:
    """A tracer with every load-time hook; created by the loader."""

    @hookimpl
    def tracer_settings(self) -> type[BaseModel]:
        """Return the model."""
        return RemoteSettings

    @hookimpl
    def tracer_propagators(self) -> Sequence[str]:
        """Return the formats."""
        return ["b3", "jaeger"]

    @hookimpl
    def tracer_target(self, settings: RemoteSettings) -> str:
        """Return the URL, credentials and all: the loader hides them."""
        return settings.url

    @hookimpl
    def tracer_warnings(self, settings: RemoteSettings) -> Sequence[str]:
        """Find a short timeout suspicious."""
        return ["timeout_s is very short"] if settings.timeout_s < 1 else []

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> ExportResult | None:
        """Deliver nothing."""
        return ExportResult(rejected=len(spans))
