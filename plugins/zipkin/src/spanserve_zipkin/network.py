"""The way to Zipkin: straight, or by the proxy that the environment names for all HTTP clients."""

import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.util import make_headers

from spanserve import ConfigError
from spanserve_zipkin.settings import ZipkinSettings
from spanserve_zipkin.target import base_url, redacted

Opener = Callable[..., urllib3.BaseHTTPResponse]


def proxy_of(url: str) -> str | None:
    """Return the proxy for a URL by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, if any.

    Raises ConfigError for one of a kind that is not known here.
    """
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    found = urlsplit(proxy)
    if found.scheme not in {"http", "https"} or not found.hostname:
        raise ConfigError(
            f"the environment names the proxy {redacted(proxy)} for {parts.scheme} URLs; "
            f"http:// and https:// proxies can be used, or name {parts.hostname} in NO_PROXY"
        )
    return proxy


def check_ca_file(settings: ZipkinSettings) -> None:
    """Raise ConfigError where `ca_file` cannot be used."""
    if settings.ca_file is None:
        return
    try:
        ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            f"ca_file {settings.ca_file} cannot be used: {error.strerror or error}; "
            "it must be a file of certificates in PEM format"
        ) from error


def way_to(settings: ZipkinSettings) -> tuple[Opener, Callable[[], None]]:
    """Return what opens a method and a path of Zipkin's, as `urlopen` does, and what closes it.

    Nothing is connected yet; one connection is kept.
    """
    base = base_url(settings.url)
    timeout = urllib3.Timeout(connect=settings.timeout_s, read=settings.timeout_s)
    options: dict[str, Any] = {"maxsize": 1, "timeout": timeout}
    if settings.ca_file is not None and base.startswith("https:"):
        options["ca_certs"] = settings.ca_file
    proxy = proxy_of(settings.url)
    if proxy is None:
        pool = urllib3.connection_from_url(base, **options)
        return pool.urlopen, pool.close
    manager = urllib3.ProxyManager(
        _without_credentials(proxy), proxy_headers=_authorization(proxy), **options
    )

    def urlopen(method: str, path: str, **more: Any) -> urllib3.BaseHTTPResponse:
        return manager.urlopen(method, base + path, **more)

    return urlopen, manager.clear


def _without_credentials(proxy: str) -> str:
    parts = urlsplit(proxy)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _authorization(proxy: str) -> dict[str, str]:
    parts = urlsplit(proxy)
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return dict(make_headers(proxy_basic_auth=pair))
