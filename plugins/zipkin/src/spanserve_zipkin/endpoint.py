"""Who took part in a span, as Zipkin's endpoints."""

from ipaddress import IPv6Address, ip_address

from spanserve import Attributes, AttributeValue
from spanserve_zipkin.text import Memo, quote

_MEMO_SIZE = 1024
_MAX_PORT = 65535


class Endpoints:
    """Writes the endpoint members of a service's spans, each with the comma before it."""

    def __init__(self, service_name: str) -> None:
        self.local = f',"localEndpoint":{{{_service(service_name)}}}' if service_name else ""
        self._addresses: Memo[str, str] = Memo(_address, size=_MEMO_SIZE)

    def remote(self, kind: str, attributes: Attributes) -> str:
        """Return the member `remoteEndpoint`, or nothing where the attributes name no peer."""
        if kind == "server":
            parts = self._caller(attributes)
        elif kind in {"client", "producer"}:
            parts = self._callee(attributes)
        else:
            return ""
        return f',"remoteEndpoint":{{{parts}}}' if parts else ""

    def _caller(self, attributes: Attributes) -> str:
        client = attributes.get("client.address")
        peer = attributes.get("network.peer.address")
        if address := self._ip(client):
            port = attributes.get("client.port")
            if port is None and client == peer:
                port = attributes.get("network.peer.port")
            return address + _port(port)
        if address := self._ip(peer):
            return address + _port(attributes.get("network.peer.port"))
        return ""

    def _callee(self, attributes: Attributes) -> str:
        server = attributes.get("server.address")
        parts = []
        name = attributes.get("peer.service") or server
        if name and isinstance(name, str):
            parts.append(_service(name))
        if address := self._ip(attributes.get("network.peer.address")):
            parts.append(address + _port(attributes.get("network.peer.port")))
        elif address := self._ip(server):
            parts.append(address + _port(attributes.get("server.port")))
        return ",".join(parts)

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
