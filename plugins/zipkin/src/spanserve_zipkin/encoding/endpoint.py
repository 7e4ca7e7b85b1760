"""Who took part in a span, as Zipkin's endpoints."""

from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

from spanserve import Attributes, AttributeValue, SpanKind
from spanserve_zipkin.encoding.text import Memo, quote

PEER_PORT: Final = "network.peer.port"
_PEER: Final = "network.peer.address"
_CLIENT: Final = "client.address"
_CLIENT_PORT: Final = "client.port"

READ: Final = frozenset(
    (_PEER, _CLIENT, _CLIENT_PORT, "peer.service", "server.address", "server.port")
)
"""The attributes that an endpoint is made of, but for the peer's port."""

_MEMO_SIZE: Final = 1024
_MAX_PORT: Final = 65535


class Remote(NamedTuple):
    """The members of a remote endpoint, and the attributes that it says: no tags are needed.

    `takes_port`: the peer's port belongs here, and the attributes do not hold it.
    """

    members: str = ""
    said: frozenset[str] = frozenset()
    takes_port: bool = False


NOBODY: Final = Remote()


class Endpoints:
    """Writes the endpoints of a service's spans."""

    def __init__(self, service_name: str) -> None:
        self.local = f',"localEndpoint":{{{_service(service_name)}}}' if service_name else ""
        self._addresses: Memo[str, str] = Memo(_address, size=_MEMO_SIZE)

    def remote(self, kind: SpanKind, attributes: Attributes) -> Remote:
        """Return the remote endpoint, without members where the attributes name no peer."""
        if kind is SpanKind.SERVER:
            return self._caller(attributes)
        if kind in {SpanKind.CLIENT, SpanKind.PRODUCER}:
            return self._callee(attributes)
        return NOBODY

    def _caller(self, attributes: Attributes) -> Remote:
        client, peer = attributes.get(_CLIENT), attributes.get(_PEER)
        if address := self._ip(client):
            said = {_CLIENT, _PEER} if peer == client else {_CLIENT}
            port_key = _CLIENT_PORT
            if attributes.get(_CLIENT_PORT) is None and peer == client:
                port_key = PEER_PORT
        elif address := self._ip(peer):
            said, port_key = {_PEER}, PEER_PORT
        else:
            return NOBODY
        if "%" in str(client if _CLIENT in said else peer):
            said = set()  # an endpoint has no place for the zone
        port = _port(attributes.get(port_key))
        if port:
            said.add(port_key)
        takes_port = port_key == PEER_PORT and PEER_PORT not in attributes
        return Remote(address + port, frozenset(said), takes_port)

    def _callee(self, attributes: Attributes) -> Remote:
        server = attributes.get("server.address")
        parts = []
        name = attributes.get("peer.service") or server
        if name and isinstance(name, str):
            parts.append(_service(name))
        if address := self._ip(attributes.get(_PEER)):
            parts.append(address + _port(attributes.get(PEER_PORT)))
        elif address := self._ip(server):
            parts.append(address + _port(attributes.get("server.port")))
        return Remote(",".join(parts))

    def _ip(self, address: AttributeValue | None) -> str:
        return self._addresses[address] if isinstance(address, str) else ""


def _service(name: str) -> str:
    return f'"serviceName":{quote(name.lower())}'


def _address(text: str) -> str:
    # Zipkin takes literals only, and none with a zone such as %eth0.
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return f'"ipv{address.version}":"{address}"'


def _port(port: AttributeValue | None) -> str:
    if isinstance(port, int) and 0 < port <= _MAX_PORT and port is not True:
        return f',"port":{int(port)}'
    return ""
