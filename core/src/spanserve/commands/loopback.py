"""Behind a corporate proxy: what is on this machine is asked without it."""

from collections.abc import MutableMapping
from typing import Final

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_EXCEPT: Final = ("no_proxy", "NO_PROXY")


def keep_loopback_direct(environ: MutableMapping[str, str]) -> None:
    """Except this machine from the proxies of an environment, if it has any.

    OpenTelemetry's exporters, urllib, requests, httpx and gRPC go by these variables.
    """
    # Where there is no proxy, `no_proxy` alone would hide those of macOS' settings.
    if not any(name.lower().endswith("_proxy") and name not in _EXCEPT for name in environ):
        return
    # Where both are set the lower case counts.
    before = next((environ[name] for name in _EXCEPT if environ.get(name)), "")
    if before.strip() == "*":
        return
    known = [each.strip() for each in before.split(",") if each.strip()]
    value = ",".join([*known, *(each for each in LOOPBACK if each not in known)])
    for name in _EXCEPT:
        environ[name] = value
