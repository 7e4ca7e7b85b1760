"""Who is let in, and what a browser is told: one verdict on a request's head, for every door.

Every way into the server asks here, and nowhere else: requests that are answered directly, those
that go through the app, and those that middleware sends elsewhere.
"""

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final, Literal, NamedTuple

from starlette.routing import compile_path

from spanserve.config.access import AuthConfig, CorsConfig
from spanserve.server.access.keys import KeyRing
from spanserve.server.http.answer import CODES, RequestError

log = logging.getLogger(__name__)

Group = Literal["inference", "probes", "docs", "metadata", "metrics", "control", "routes"]
HeaderLines = tuple[tuple[bytes, bytes], ...]

PROBES: Final = frozenset({"/healthz", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready"})
_GROUPS: Final[Mapping[str, Group]] = {
    **dict.fromkeys(PROBES, "probes"),
    **dict.fromkeys(("/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"), "docs"),
    "/metadata": "metadata",
    "/metrics": "metrics",
    "/tracing": "control",  # it has a token of its own
}
_PROTOCOL: Final = "/v2"

CHALLENGE: Final = 'Bearer realm="spanserve"'
_BEARER: Final = b"bearer"
_ASKED: Final = (b"authorization", b"x-api-key", b"origin")
"""The headers that a verdict goes by."""
_MOST_LET_IN: Final = 1024
_LONGEST_ASKED: Final = 1024
_READ_HEADERS: Final = (
    *("authorization", "content-type", "x-api-key", "x-request-id", "x-request-timeout-ms"),
    *("traceparent", "tracestate", "baggage", "b3", "uber-trace-id"),
)
_SHOWN_HEADERS: Final = b"x-request-id, x-trace-id, server-timing, retry-after"


class Verdict(NamedTuple):
    """What is said of a head: `refusal`, if it is not let in, and the headers of any answer to it.

    `lines` are `headers` as they go out. `asked` says that a key was wanted, and `owner` whose it
    was, if that has a name.
    """

    refusal: RequestError | None = None
    headers: HeaderLines = ()
    lines: bytes = b""
    asked: bool = False
    owner: str = ""


OPEN: Final = Verdict()


class Guard:
    """Decides by a request's path and headers."""

    def __init__(
        self, auth: AuthConfig | None, cors: CorsConfig | None, *, routes: Collection[str]
    ) -> None:
        """`routes` are those of inference; raises ConfigError where a key file cannot be used."""
        self.keys = None if auth is None else KeyRing(auth)
        self._guarded = {"inference", *auth.guard} if auth is not None else set()
        self._cors = None if cors is None else _Cors(cors)
        self._routes = routes
        self._templates = [compile_path(route)[0] for route in routes if "{" in route]
        self._let_in: dict[tuple[bytes | str | None, ...], Verdict] = {}
        self._changes_seen = 0
        self.refused: Counter[str] = Counter()
        """Requests without a right key, by what they asked for; whoever refuses them counts."""

    @property
    def is_open(self) -> bool:
        """Whether everything is let in without a word."""
        return self.keys is None and self._cors is None

    @property
    def changes(self) -> int:
        """How often what was said before may have become untrue."""
        return 0 if self.keys is None else self.keys.changes

    def group(self, path: str) -> Group:
        """Return what a path is, below the server's root path."""
        if path in self._routes:
            return "inference"
        group = _GROUPS.get(path)
        if group is not None:
            return group
        protocol = path == _PROTOCOL or path.startswith(f"{_PROTOCOL}/")
        if protocol or any(template.match(path) for template in self._templates):
            return "inference"
        return "routes"

    def verdict(self, path: str, fields: Mapping[bytes, bytes]) -> Verdict:
        """Return the verdict on a request for a path, with these headers."""
        return OPEN if self.is_open else self.verdict_on(self.group(path), fields)

    def verdict_on(self, group: Group, fields: Mapping[bytes, bytes]) -> Verdict:
        """Return the verdict on a request for something of this group."""
        asked = group, *map(fields.get, _ASKED)
        verdict = self._let_in.get(asked)
        if verdict is None or self._changes_seen != self.changes:
            verdict = self._judged(group, fields)
            if verdict.refusal is None:
                self._remember(asked, verdict)
        return verdict

    def _remember(self, asked: tuple[bytes | str | None, ...], verdict: Verdict) -> None:
        """Keep what was said to whoever was let in: another asks the same, as a rule.

        To find it tells no more by its time than that a whole key is right.
        """
        if self._changes_seen != self.changes or len(self._let_in) >= _MOST_LET_IN:
            self._changes_seen = self.changes
            self._let_in.clear()
        if sum(len(each) for each in asked if each) <= _LONGEST_ASKED:
            self._let_in[asked] = verdict

    def _judged(self, group: Group, fields: Mapping[bytes, bytes]) -> Verdict:
        headers: HeaderLines = ()
        if self._cors is not None and group == "inference":
            headers = self._cors.headers(fields.get(b"origin"))
        lines = b"".join([b"%b: %b\r\n" % line for line in headers])
        if self.keys is None or group not in self._guarded:
            return Verdict(None, headers, lines)
        owner = self._owner(self.keys, fields)
        if owner is None:
            return Verdict(_refusal(fields), headers, lines, asked=True)
        return Verdict(None, headers, lines, asked=True, owner=owner)

    def preflight(
        self, path: str, method: str, fields: Mapping[bytes, bytes]
    ) -> HeaderLines | None:
        """Return what else the answer says where a browser asks if a page may send a request.

        None: it asks nothing of the kind, or not of inference.
        """
        asked = fields.get(b"access-control-request-method")
        if self._cors is None or method != "OPTIONS" or asked is None or b"origin" not in fields:
            return None
        return self._cors.preflight(fields[b"origin"]) if self.group(path) == "inference" else None

    @staticmethod
    def _owner(keys: KeyRing, fields: Mapping[bytes, bytes]) -> str | None:
        scheme, _, given = fields.get(b"authorization", b"").partition(b" ")
        owner = keys.owner(given.strip()) if scheme.lower() == _BEARER else None
        if owner is None and (given := fields.get(b"x-api-key", b"")):
            owner = keys.owner(given.strip())
        return owner


class _Cors:
    """The headers of answers to pages of other origins.

    Source: https://fetch.spec.whatwg.org/#http-cors-protocol.
    """

    def __init__(self, config: CorsConfig) -> None:
        self._all = "*" in config.origins
        self._origins = frozenset(origin.encode() for origin in config.origins)
        self._credentials = config.credentials
        allowed = dict.fromkeys(name.lower() for name in (*_READ_HEADERS, *config.headers))
        self._allowed = ", ".join(allowed).encode("latin-1")
        self._max_age_s = b"%d" % config.max_age_s

    def headers(self, origin: bytes | None) -> HeaderLines:
        """Return the headers of an answer to a request of this origin."""
        if self._all:
            return (
                (b"access-control-allow-origin", b"*"),
                (b"access-control-expose-headers", _SHOWN_HEADERS),
            )
        vary = (b"vary", b"Origin")  # a cache must keep the answers to two origins apart
        if origin is None or origin.lower() not in self._origins:
            return (vary,)
        allowed = (
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _SHOWN_HEADERS),
        )
        credentials = ((b"access-control-allow-credentials", b"true"),)
        return (vary, *allowed, *(credentials if self._credentials else ()))

    def preflight(self, origin: bytes) -> HeaderLines:
        """Return what else the answer to a question before a request says."""
        if not self._all and origin.lower() not in self._origins:
            return ()
        return (
            (b"access-control-allow-methods", b"POST"),
            (b"access-control-allow-headers", self._allowed),
            (b"access-control-max-age", self._max_age_s),
        )


def _refusal(fields: Mapping[bytes, bytes]) -> RequestError:
    given = b"authorization" in fields or b"x-api-key" in fields
    what = "the key is not known here" if given else "a key is wanted"
    message = f"{what}; send `Authorization: Bearer KEY` or `X-API-Key: KEY`"
    return RequestError(401, CODES[401], message, headers={"WWW-Authenticate": CHALLENGE})
