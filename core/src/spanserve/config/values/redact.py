"""Hide secrets wherever configuration is shown.

Three kinds are known: fields that a model declares as `SecretStr`, keys with a telling
name (`token`, `password`, `headers` and all below them), and credentials within URLs.
"""

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, get_args

from pydantic import BaseModel, SecretBytes, SecretStr

HIDDEN: Final = "***"

_SECRET_KEY: Final = re.compile(
    r"headers?$|passw(or)?d|passphrase|secret|token|authori[sz]ation|^auth$|credential|cookie"
    r"|(api|access|private|account|shared)[-_]?key",
    re.IGNORECASE,
)
_USERINFO: Final = re.compile(r"(?<=://)[^/?#\s]*@")
_QUERY_SECRET: Final = re.compile(r"(?<=[?&;])([^=&;#\s]+)=([^&;#\s]+)")


def is_secret_key(key: str) -> bool:
    """Say whether a key's name tells that its value is a secret."""
    return _SECRET_KEY.search(key) is not None


def is_header_section(key: str) -> bool:
    """Say whether the keys below this one are names of HTTP headers."""
    return key.lower() in {"header", "headers"}


def without_credentials(text: str) -> str:
    """Hide the user part and the telling query parameters of every URL in a text."""
    if "://" not in text:
        return text
    hidden = _USERINFO.sub(f"{HIDDEN}@", text)
    return _QUERY_SECRET.sub(_query_parameter, hidden)


def _query_parameter(match: re.Match[str]) -> str:
    return f"{match[1]}={HIDDEN}" if is_secret_key(match[1]) else match[0]


def redacted(value: object, *, secret: bool = False) -> object:
    """Return plain data with its secrets hidden; with `secret`, all values in it are."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields.items()
        value = {field.alias or name: getattr(value, name) for name, field in fields}
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, Mapping):
        return {
            str(key): redacted(child, secret=secret or is_secret_key(str(key)))
            for key, child in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [redacted(child, secret=secret) for child in value]
    if value is None or isinstance(value, bool):
        return value
    if secret or isinstance(value, SecretStr | SecretBytes):
        return HIDDEN
    return value if isinstance(value, int | float) else without_credentials(str(value))


def holds_secret(annotation: Any) -> bool:
    """Say whether a type is, or contains, one that pydantic keeps secret."""
    if isinstance(annotation, type) and issubclass(annotation, SecretStr | SecretBytes):
        return True
    return any(holds_secret(part) for part in get_args(annotation))
