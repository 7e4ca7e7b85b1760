"""Who may look at the traces: whoever sits at this machine, or knows the token.

Without a token a request must come from this machine, be meant for it by its `Host` (a page
elsewhere whose name leads here, by DNS rebinding, is not), and have come through no proxy.
"""

import hashlib
import hmac
import ipaddress
import time
from collections.abc import Mapping, Sequence
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final, NamedTuple

COOKIE: Final = "spanserve_traces"
COOKIE_AGE_S: Final = 12 * 3600
_FORWARDING: Final = frozenset({"forwarded", "x-real-ip", "via"})
_FORWARDED: Final = "x-forwarded-"
_SET_TOKEN: Final = "set tracing.local.token (SPANSERVE__TRACING__LOCAL__TOKEN) and log in with it"  # noqa: S105  # advice

Headers = Sequence[tuple[bytes, bytes]]


class Refusal(NamedTuple):
    """Why somebody may not look: the status, and what to do."""

    status: int
    code: str
    message: str


class Access:
    """Decides who may look, by a request's head."""

    def __init__(self, token: str | None) -> None:
        self._digest = None if token is None else _digest(token)

    @property
    def has_token(self) -> bool:
        """Whether a token is wanted."""
        return self._digest is not None

    def refusal(self, scope: Mapping[str, Any]) -> Refusal | None:
        """Return why a request is not let in; None: it is."""
        if self._digest is None:
            return _refused_stranger(scope)
        if self.knows(_bearer(scope["headers"])) or self._has_cookie(scope["headers"]):
            return None
        return Refusal(
            401,
            "token_wanted",
            "the token is wanted: log in, or send `Authorization: Bearer TOKEN`",
        )

    def knows(self, token: str) -> bool:
        """Say whether this is the token, in the same time whatever it is."""
        return self._digest is not None and hmac.compare_digest(_digest(token), self._digest)

    def cookie(self, *, path: str, secure: bool) -> str:
        """Return the header `Set-Cookie` of somebody who knows the token."""
        until = str(int(time.time()) + COOKIE_AGE_S)
        parts = [
            f"{COOKIE}={until}.{self._signature(until)}",
            *("HttpOnly", "SameSite=Lax", f"Path={path}", f"Max-Age={COOKIE_AGE_S}"),
        ]
        return "; ".join([*parts, "Secure"] if secure else parts)

    def _signature(self, until: str) -> str:
        key = self._digest or b""
        return hmac.new(key, f"spanserve traces {until}".encode(), hashlib.sha256).hexdigest()

    def _has_cookie(self, headers: Headers) -> bool:
        try:
            cookies = SimpleCookie(_joined(headers, b"cookie", "; "))
        except CookieError:
            return False
        if COOKIE not in cookies:
            return False
        until, _, signature = cookies[COOKIE].value.partition(".")
        expected = self._signature(until)
        is_ours = hmac.compare_digest(signature.encode("utf-8", "replace"), expected.encode())
        return is_ours and until.isdecimal() and int(until) > time.time()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _bearer(headers: Headers) -> str:
    scheme, _, token = _joined(headers, b"authorization", ",").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _joined(headers: Headers, name: bytes, between: str) -> str:
    return between.join(value.decode("latin-1") for key, value in headers if key == name)


def _refused_stranger(scope: Mapping[str, Any]) -> Refusal | None:
    headers: Headers = scope["headers"]
    for key, _ in headers:
        name = key.decode("latin-1").lower()
        if name in _FORWARDING or name.startswith(_FORWARDED):
            return _closed(f"it came through a proxy (it has the header {name})")
    client = scope.get("client")
    if client is None or not is_loopback(client[0]):
        where = "another machine or a container's network" if client else "no known address"
        return _closed(f"it comes from {where}")
    hosts = [value.decode("latin-1") for key, value in headers if key == b"host"]
    if len(hosts) != 1 or not is_loopback(_host(hosts[0])):
        return _closed("its Host is not this machine's; ask for localhost or 127.0.0.1")
    return None


def _closed(why: str) -> Refusal:
    return Refusal(
        403,
        "not_from_here",
        "without a token the traces are shown on this machine only, and this request is refused: "
        f"{why}. To look from elsewhere, {_SET_TOKEN}",
    )


def _host(header: str) -> str:
    """Return the name or address of a header `Host`, without a port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    host, colon, port = header.rpartition(":")
    return host if colon and port.isascii() and port.isdigit() else header


def is_loopback(host: str) -> bool:
    """Say whether a name or an address is this machine's own."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
