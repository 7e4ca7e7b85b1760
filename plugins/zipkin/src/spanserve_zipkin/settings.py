"""The `zipkin` section of the config."""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from urllib3.util import parse_url

_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_OURS = frozenset({"content-encoding", "content-length", "content-type", "transfer-encoding"})
_EXAMPLE = "http://localhost:9411/api/v2/spans"


def _valid_url(url: str) -> str:
    if re.search(r"[\x00-\x20\x7f]", url):
        raise ValueError("must not hold blanks or control characters")
    # The parsers' own messages may quote a part of a password.
    try:
        parts = urlsplit(url)
        parse_url(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"is no URL; expected one such as {_EXAMPLE}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError(f"must be an http or https URL such as {_EXAMPLE}")
    return url


def _valid_headers(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of an HTTP header")
        if name.lower() in _OURS:
            raise ValueError(f"{name!r} describes the body and is set by spanserve itself")
        if not _is_field_value(value.get_secret_value()):
            raise ValueError(f"the value of {name!r} must be Latin-1 text without line breaks")
    return headers


def _is_field_value(text: str) -> bool:
    return re.fullmatch(r"[\t\x20-\x7e\xa0-\xff]*", text) is not None


class ZipkinSettings(BaseModel):
    """Where and how spans go to Zipkin. Only `url` is required."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: Annotated[str, AfterValidator(_valid_url)] = Field(
        description="Where spans are posted: Zipkin's own address ends in /api/v2/spans. "
        "A user and password in it are sent as HTTP basic authentication.",
        examples=[_EXAMPLE],
    )
    headers: Annotated[dict[str, SecretStr], AfterValidator(_valid_headers)] = Field(
        default={},
        description="HTTP headers sent with every post, for example for authentication.",
    )
    timeout_s: float = Field(
        default=10,
        gt=0,
        allow_inf_nan=False,
        description="Seconds that connecting and waiting for an answer may each take.",
    )
    ca_file: str | None = Field(
        default=None,
        min_length=1,
        description="A file of certificates in PEM format that an https URL's certificate is "
        "checked by, in place of the system's; for a private certificate authority.",
    )
    compression: Literal["auto", "gzip", "none"] = Field(
        default="auto",
        description="auto: gzip, except for a Zipkin on this machine, where it costs "
        "more than it saves.",
    )
    links: Literal["full", "ids"] = Field(
        default="full",
        description="What a batch's tags say of its members: full, the ids of their traces and "
        "each link whole, which Jaeger and OpenTelemetry's Collector read; ids, those of the "
        "traces alone, so that a page that sorts tags shows size and reason first.",
    )
