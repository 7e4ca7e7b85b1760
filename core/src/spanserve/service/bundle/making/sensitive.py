"""What a file is by its name and first bytes: a key, a log, a configuration, a pickle."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import yaml

CONFIG_SUFFIXES: Final = (".yml", ".yaml")
CONFIG_SECTIONS: Final = frozenset(
    {"tracing", "server", "batching", "logging", "runner", "service", "services"}
)
"""A YAML file with no other keys is taken for a configuration of spanserve."""
_TELLING: Final = frozenset({"tracing", "server", "batching", "logging"})

_KEYS: Final = (
    *(".env*", "*.env", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*"),
    *("*.pem", "*.key", "*.ppk", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx"),
    *("credentials", "credentials.*", "*_credentials.*", "*-credentials.*"),
    *("secret.*", "secrets.*", "client_secret*", "service_account*", "service-account*"),
    *(".netrc", ".npmrc", ".pypirc", ".pgpass", ".htpasswd", "kubeconfig"),
)
_CODE: Final = ("*.py", "*.pyi", "*.so", "*.pyd")
_LOGS: Final = ("*.log", "*.log.*", "nohup.out")
_PICKLES: Final = ("*.pkl", "*.pickle", "*.joblib", "*.pt", "*.pth", "*.ckpt", "*.dill")
_PICKLE_HEADS: Final = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
_HEAD_BYTES: Final = 64
_MAX_CONFIG_BYTES: Final = 100_000


def why_private(file: Path) -> str:
    """Say what makes a file one that stays at home, or nothing."""
    name = file.name.lower()
    if _is_any(name, _CODE):
        return ""
    if _is_any(name, _KEYS) or _holds_private_key(file):
        return "a key or password"
    if _is_any(name, _LOGS):
        return "a log"
    return "a configuration" if is_config(file) else ""


def is_pickle(file: Path) -> bool:
    """Whether a file looks like a pickle, which may name any module."""
    return _is_any(file.name.lower(), _PICKLES) or _head(file).startswith(_PICKLE_HEADS)


def is_config(file: Path) -> bool:
    """Whether a file looks like a configuration of spanserve: its keys are sections of one."""
    if file.suffix.lower() not in CONFIG_SUFFIXES or not file.is_file():
        return False
    try:
        if file.stat().st_size > _MAX_CONFIG_BYTES:
            return False
        content = yaml.load(file.read_bytes(), yaml.BaseLoader)  # noqa: S506 - makes no objects
    except (OSError, yaml.YAMLError, UnicodeError, RecursionError):
        return False
    if not isinstance(content, dict) or _TELLING.isdisjoint(content):
        return False
    return "tracing" in content or content.keys() <= CONFIG_SECTIONS


def _is_any(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _holds_private_key(file: Path) -> bool:
    head = _head(file).lstrip()
    return head.startswith(b"-----BEGIN ") and b"PRIVATE KEY" in head


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(_HEAD_BYTES)
    except OSError:
        return b""
