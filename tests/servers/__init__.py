"""Real Zipkin and Jaeger servers on demand: fetched once, kept in a cache, run on free ports.

By hand: `python tests/servers --help`. Needs nothing but Python's own library.
"""

from servers.cache import ServersError
from servers.jaeger import JaegerServer, jaeger_server
from servers.releases import JAEGER1, JAEGER2, RELEASES, ZIPKIN, unavailable
from servers.zipkin import ZipkinServer, zipkin_server

__all__ = [
    "JAEGER1",
    "JAEGER2",
    "RELEASES",
    "ZIPKIN",
    "JaegerServer",
    "ServersError",
    "ZipkinServer",
    "jaeger_server",
    "unavailable",
    "zipkin_server",
]
