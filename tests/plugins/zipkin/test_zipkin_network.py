"""The way to Zipkin: proxies of the environment, and certificates of a private authority."""

import signal
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from spanserve import ConfigError, ExportResult, Resource, Span, SpanKind
from spanserve_zipkin.settings import ZipkinSettings
from spanserve_zipkin.tracer import Zipkin
from support.certificates import new_certificate
from support.holding import HELD
from support.proxy import Proxy
from support.serving import refusing_port, subprocess_server
from support.zipkin_sink import ZipkinSink

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
SPANS = [Span("run", SpanKind.INTERNAL, "ab" * 16, "cd" * 8, None, 1_000, 2_000)]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@contextmanager
def started(url: str, **options: Any) -> Iterator[Zipkin]:
    tracer = Zipkin()
    settings = ZipkinSettings(url=url, **options)
    tracer.tracer_started(settings=settings, resource=Resource("svc", {"service.name": "svc"}))
    try:
        yield tracer
    finally:
        tracer.tracer_stopping()


@contextmanager
def secure_sink(folder: Path) -> Iterator[ZipkinSink]:
    """A sink whose certificate only `cert.pem` of the folder vouches for."""
    new_certificate(folder, "cert.pem", "key.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    with ZipkinSink(tls=context) as sink:
        yield sink


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("with_scheme", [True, False])
def test_spans_go_by_the_proxy_of_the_environment_which_the_target_names(
    variable: str, monkeypatch: pytest.MonkeyPatch, *, with_scheme: bool
) -> None:
    with Proxy() as proxy, ZipkinSink() as sink:
        monkeypatch.setenv(variable, proxy.url if with_scheme else proxy.address)
        with started(sink.url) as tracer:
            assert tracer.export_spans(SPANS) == ExportResult(delivered=1)
        assert proxy.asked == [f"POST {sink.url}"]
        assert sink.requests[0].headers["host"] == f"127.0.0.1:{sink.port}"
        target = Zipkin().tracer_target(ZipkinSettings(url=sink.url))
        assert target == f"{sink.url} by the proxy {proxy.url}"


@pytest.mark.parametrize("bypass", ["127.0.0.1", "*", "other,127.0.0.1"])
def test_a_host_in_no_proxy_is_reached_straight(
    bypass: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with refusing_port() as port, ZipkinSink() as sink:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("NO_PROXY", bypass)
        with started(sink.url) as tracer:
            assert tracer.export_spans(SPANS) == ExportResult(delivered=1)
        assert Zipkin().tracer_target(ZipkinSettings(url=sink.url)) == sink.url


def test_a_proxy_s_password_is_given_to_it_and_shown_to_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Proxy(password="s:cret") as proxy, ZipkinSink() as sink:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:s%3Acret@{proxy.address}")
        with started(sink.url) as tracer:
            assert tracer.export_spans(SPANS) == ExportResult(delivered=1)
        assert "proxy-authorization" not in sink.requests[0].headers
        target = Zipkin().tracer_target(ZipkinSettings(url=sink.url))
        assert target == f"{sink.url} by the proxy http://***@{proxy.address}"
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        with started(sink.url) as tracer:
            assert tracer.export_spans(SPANS) == ExportResult(rejected=1, reason="answered 407")


def test_a_proxy_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing_port() as port, started_by(port, monkeypatch) as tracer:
        result = tracer.export_spans(SPANS)
    assert (tuple(result.retry), result.reason) == (
        tuple(SPANS),
        "the proxy cannot be used: Connection refused",
    )


@contextmanager
def started_by(port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zipkin]:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
    with started("http://zipkin.invalid:9411/api/v2/spans") as tracer:
        yield tracer


def test_a_proxy_of_another_kind_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://me:secret@proxy:1080")
    with pytest.raises(ConfigError) as caught:
        Zipkin().tracer_target(ZipkinSettings(url="http://z:9411/api/v2/spans"))
    assert str(caught.value) == (
        "the environment names the proxy socks5://***@proxy:1080 for http URLs; "
        "http:// and https:// proxies can be used, or name z in NO_PROXY"
    )


@pytest.mark.parametrize("by_proxy", [False, True])
def test_a_private_authority_s_certificate_is_checked_by_ca_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, by_proxy: bool
) -> None:
    with Proxy() as proxy, secure_sink(tmp_path) as sink:
        if by_proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with started(sink.url, ca_file=str(tmp_path / "cert.pem")) as tracer:
            assert tracer.export_spans(SPANS) == ExportResult(delivered=1)
        with started(sink.url) as tracer:
            reason = tracer.export_spans(SPANS).reason or ""
        assert reason.startswith("TLS failed: ")
        assert proxy.asked == ([f"CONNECT 127.0.0.1:{sink.port}"] * 2 if by_proxy else [])


def test_a_ca_file_that_cannot_be_used_stops_the_start_and_one_of_no_use_is_said(
    tmp_path: Path,
) -> None:
    (tmp_path / "no.pem").write_text("no certificate")
    for name, why in (("absent.pem", "No such file or directory"), ("no.pem", "")):
        file = tmp_path / name
        with pytest.raises(ConfigError) as caught:
            Zipkin().tracer_target(ZipkinSettings(url="https://z/api/v2/spans", ca_file=str(file)))
        assert str(caught.value).startswith(f"ca_file {file} cannot be used: {why}")
        assert str(caught.value).endswith("it must be a file of certificates in PEM format")
    plain = ZipkinSettings(url="http://z:9411/api/v2/spans", ca_file=str(tmp_path / "no.pem"))
    assert Zipkin().tracer_warnings(plain) == [
        "zipkin.ca_file is not used: zipkin.url does not begin with https:"
    ]


def arrived_from_a_server(sink: ZipkinSink, env: dict[str, str]) -> str:
    """Serve a request, and stop; return the log once its spans arrived."""
    env = {"SPANSERVE__TRACING__TYPE": "zipkin", **env}
    with subprocess_server(str(HELD), env=env) as server:
        assert httpx.post(f"{server.url}/predict", json=2).json() == 4.0
        assert server.stop(signal.SIGTERM) == 0, server.text()
    assert len(sink.spans) > 5, server.text()
    assert sink.violations == []
    return server.text()


def test_a_server_says_the_proxy_and_its_traces_arrive_by_it() -> None:
    url = "http://zipkin.invalid:9411/api/v2/spans"
    with ZipkinSink() as sink, Proxy(to=f"127.0.0.1:{sink.port}") as proxy:
        env = {"HTTP_PROXY": proxy.url, "SPANSERVE__TRACING__ZIPKIN__URL": url}
        assert f"zipkin to {url} by the proxy {proxy.url}" in arrived_from_a_server(sink, env)
        assert set(proxy.asked) == {f"POST {url}"}


def test_a_server_s_traces_arrive_where_a_private_authority_vouches(tmp_path: Path) -> None:
    with secure_sink(tmp_path) as sink:
        env = {
            "SPANSERVE__TRACING__ZIPKIN__URL": sink.url,
            "SPANSERVE__TRACING__ZIPKIN__CA_FILE": str(tmp_path / "cert.pem"),
        }
        arrived_from_a_server(sink, env)
