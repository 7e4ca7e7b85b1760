"""The `local` section of the config."""

import re
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)
_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)?", re.IGNORECASE)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_TOKEN: Final = re.compile(r"[!-~][ -~]{14,}[!-~]")

LEAST_BYTES: Final = 8 * 1024 * 1024


def _bytes(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = _SIZE.fullmatch(value.strip())
    if found is None:
        raise ValueError("wanted a number of bytes, or a size such as 512MB or 2GiB")
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** " KMGT".index(unit.upper() or " "))


def seconds(age: str) -> float:
    """Return an age such as 36h or 7d in seconds; raises ValueError."""
    found = _AGE.fullmatch(age.strip())
    if found is None:
        raise ValueError("wanted a number of seconds, or an age such as 90s, 36h or 7d")
    return float(found[1]) * _SECONDS[(found[2] or "s").lower()]


def _seconds(value: Any) -> Any:
    return seconds(value) if isinstance(value, str) else value


class LocalSettings(BaseModel):
    """Where traces are kept, how many, and who may look at them. Nothing is required."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    path: Path | None = Field(
        default=None,
        description="The file, or its folder; null: `spanserve/traces.db` in the user's data "
        "folder, `$XDG_DATA_HOME` or `~/.local/share`",
    )
    max_bytes: Annotated[
        int, BeforeValidator(_bytes, json_schema_input_type=int | str), Field(ge=LEAST_BYTES)
    ] = Field(
        default=512 * 1024 * 1024,
        description="How large the file may become, as 2GiB; beyond, the oldest traces go",
    )
    max_age: Annotated[
        float, BeforeValidator(_seconds, json_schema_input_type=float | str), Field(gt=0)
    ] = Field(
        default=7 * 86_400.0,
        description="How long traces are kept, in seconds or as 36h or 7d",
    )
    token: SecretStr | None = Field(
        default=None,
        description="What whoever looks must know, 16 characters or more; null: only whoever "
        "sits at this machine may look",
    )

    @field_validator("token")
    @classmethod
    def _is_long(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and not _TOKEN.fullmatch(token.get_secret_value()):
            raise ValueError("a token is 16 or more ASCII characters, with no blank at either end")
        return token
