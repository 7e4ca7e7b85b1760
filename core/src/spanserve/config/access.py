"""Who may use the server: keys, and pages of other origins."""

import re
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from spanserve.config.section import Listed, Pause, Section, Word, listed

Guarded = Literal["docs", "metadata", "metrics", "routes"]

_KEY: Final = re.compile(r"[!-~]+")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s,*]+")


def _keys(value: object) -> object:
    """A key may stand alone, without a name."""
    parts = listed(value)
    if not isinstance(parts, tuple):
        return value
    return tuple({"key": part} if isinstance(part, str | SecretStr) else part for part in parts)


class KeyConfig(Section):
    """One of `server.auth.keys`."""

    key: SecretStr = Field(description="What the client sends")
    name: str | None = Field(
        default=None, description="Whose it is: an attribute of the trace; null: it stays unsaid"
    )

    @field_validator("key", mode="before")
    @classmethod
    def _is_sendable(cls, key: object) -> object:
        text = key.get_secret_value() if isinstance(key, SecretStr) else key
        if not isinstance(text, str) or not _KEY.fullmatch(text):
            raise ValueError("a key is one or more visible ASCII characters without spaces")
        return SecretStr(text)

    @field_validator("name")
    @classmethod
    def _is_name(cls, name: str | None) -> str | None:
        if name is not None and not _NAME.fullmatch(name):
            raise ValueError("a key's name is up to 64 letters, digits, '.', '_', '-' and '@'")
        return name


class AuthConfig(Section):
    """`server.auth`: keys, of which a request must carry one.

    As `Authorization: Bearer KEY` or as `X-API-Key: KEY`. Inference wants one in every form that
    it comes in, the Open Inference Protocol among them; probes never do.
    """

    keys: Annotated[
        tuple[KeyConfig, ...],
        BeforeValidator(
            _keys, json_schema_input_type=tuple[SecretStr | KeyConfig, ...] | SecretStr
        ),
    ] = Field(default=(), description="Keys, or mappings of `name` and `key`")
    key_file: Word | None = Field(
        default=None,
        description="A file with a key a line, or `name: key`; read again when it changes",
    )
    guard: Annotated[
        tuple[Guarded, ...],
        BeforeValidator(listed, json_schema_input_type=tuple[Guarded, ...] | str),
    ] = Field(
        default=(),
        description="What else wants a key: docs (with /openapi.json), metadata, metrics, "
        "routes (the service's own, and its tracers')",
    )

    @model_validator(mode="after")
    def _has_keys(self) -> Self:
        if not self.keys and self.key_file is None:
            raise ValueError("auth has neither keys nor a key_file; nobody could ask")
        return self


class CorsConfig(Section):
    """`server.cors`: what a browser is told of inference routes, for pages of other origins."""

    origins: Annotated[tuple[str, ...], Listed] = Field(
        description="Origins such as https://app.example.com, or '*' for all"
    )
    headers: Annotated[tuple[Word, ...], Listed] = Field(
        default=(), description="Headers that pages may send beside those that the server reads"
    )
    credentials: bool = Field(
        default=False, description="Whether pages may send cookies and the like"
    )
    max_age_s: Pause = Field(default=600, description="How long a browser keeps the answer")

    @field_validator("origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin.lower()):
                raise ValueError(
                    f"{origin!r} is no origin; wanted a scheme and a host, as https://example.com"
                )
        return tuple(origin.lower() for origin in origins)

    @model_validator(mode="after")
    def _not_everybody_with_credentials(self) -> Self:
        if not self.origins:
            raise ValueError("cors names no origins")
        if self.credentials and "*" in self.origins:
            raise ValueError("credentials are for origins that are named, not for '*'")
        return self
