"""The provisioner of real servers: its cache, its start and stop of processes, its commands."""

import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from servers import JAEGER1, JAEGER2, RELEASES, ZIPKIN, ServersError, unavailable
from servers.cache import Cache, Workshop, cache_folder, duration
from servers.cli import main
from servers.jaeger import JaegerPorts, JaegerServer
from servers.process import answers, free_ports, serving
from servers.recipes import java_version
from servers.releases import fetch, key_of
from servers.zipkin import ZipkinServer
from support.serving import until

TESTS = Path(__file__).parents[1]
needs_locks = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fcntl")


def ignore(_text: str) -> None:
    pass


@pytest.mark.parametrize(
    ("environ", "platform", "folder"),
    [
        ({"HOME": "/h"}, "linux", "/h/.cache/spanserve-servers"),
        ({"HOME": "/h"}, "darwin", "/h/Library/Caches/spanserve-servers"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x"}, "linux", "/x/spanserve-servers"),
        ({"HOME": "/h", "XDG_CACHE_HOME": ""}, "linux", "/h/.cache/spanserve-servers"),
    ],
)
def test_the_cache_is_where_the_platform_keeps_caches(
    environ: Mapping[str, str], platform: str, folder: str
) -> None:
    assert cache_folder(environ, platform) == Path(folder)


@needs_locks
def test_what_is_in_the_cache_is_not_made_again_by_any_thread_or_process(tmp_path: Path) -> None:
    made: list[str] = []
    said: list[str] = []

    def make(shop: Workshop) -> None:
        made.append(shop.result.name)
        (shop.result / "program").write_text("x")

    def get(_number: int) -> Path:
        return Cache(tmp_path).get("a-1", make, jobs=1, say=said.append).folder

    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(get, range(8)))

    assert folders == [tmp_path / "a-1"] * 8
    assert len(made) == 1
    assert (tmp_path / "a-1" / "program").read_text() == "x"
    assert said.count("a-1: ready after 0 s") == 1


@needs_locks
def test_who_waits_for_another_to_make_it_is_told_so(tmp_path: Path) -> None:
    making, told = threading.Event(), threading.Event()

    def make(shop: Workshop) -> None:
        making.set()
        assert told.wait(30)
        (shop.result / "program").touch()

    def say(text: str) -> None:
        if text == "a-1: another process is making it; waiting":
            told.set()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(Cache(tmp_path).get, "a-1", make, jobs=1, say=say)
        assert making.wait(30)
        second = pool.submit(Cache(tmp_path).get, "a-1", make, jobs=1, say=say)
        assert first.result() == second.result()


@needs_locks
def test_of_what_fails_to_be_made_only_the_log_is_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def fail(shop: Workshop) -> None:
        (shop.result / "half").touch()
        shop.log.write_text("no space\n")
        raise ServersError("it broke")

    with pytest.raises(ServersError, match="it broke"):
        cache.get("a-1", fail, jobs=1, say=ignore)

    assert cache.receipt("a-1") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-1.lock", "a-1.log"]
    assert (tmp_path / "a-1.log").read_text() == "no space\n"


def test_lengths_of_time_are_said_as_people_say_them() -> None:
    assert [duration(0.2), duration(99), duration(150)] == ["0 s", "99 s", "2.5 min"]


def a_tool(folder: Path, name: str, script: str) -> None:
    """Put a program into a folder that is to be searched for programs."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


_MAVEN = """
echo "$@"
for option in "$@"; do
    case $option in
    -DoutputDirectory=*) touch "${option#*=}/zipkin-server-3.6.1-exec.jar" ;;
    esac
done
"""

_GO = """
echo "$@" >&2
if [ "$1" = mod ]; then
    echo '{"Dir": "DIR"}'
else
    cat go.mod >&2
    while [ "$1" != -o ]; do shift; done
    touch "$2"
fi
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is searched for tools ahead of the system's own."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return folder


@needs_locks
def test_a_jar_is_asked_of_maven_by_its_coordinates(tmp_path: Path, tools: Path) -> None:
    a_tool(tools, "mvn", _MAVEN)
    cache = Cache(tmp_path / "cache")

    jar = fetch(ZIPKIN, cache=cache, say=ignore)

    assert jar == tmp_path / "cache" / "zipkin-3.6.1" / "zipkin-server-3.6.1-exec.jar"
    assert jar.exists()
    log = (tmp_path / "cache" / "zipkin-3.6.1.log").read_text()
    wanted = "-Dartifact=io.zipkin:zipkin-server:3.6.1:jar:exec"
    assert f"--batch-mode dependency:copy {wanted} -DoutputDirectory=" in log


@needs_locks
def test_a_program_is_built_by_go_from_its_released_source(tmp_path: Path, tools: Path) -> None:
    source = tmp_path / "module"
    (source / "cmd" / "jaeger").mkdir(parents=True)
    (source / "go.mod").write_text("module m\n")
    source.chmod(0o555)
    a_tool(tools, "go", _GO.replace("DIR", str(source)))
    cache = Cache(tmp_path / "cache")

    program = fetch(JAEGER2, jobs=1, cache=cache, say=ignore)

    assert program == tmp_path / "cache" / "jaeger-2.13.0" / "jaeger"
    assert program.exists()
    log = (tmp_path / "cache" / "jaeger-2.13.0.log").read_text()
    assert "mod download -json github.com/jaegertracing/jaeger@v1.76.0" in log
    assert "build -v -trimpath -p 1 -o " in log
    assert log.endswith("./cmd/jaeger\nmodule m\n")


@needs_locks
def test_a_tool_that_fails_is_named_with_its_last_words_and_its_log(
    tmp_path: Path, tools: Path
) -> None:
    a_tool(tools, "mvn", "echo no such artifact >&2; exit 3")
    log = tmp_path / "zipkin-3.6.1.log"

    with pytest.raises(ServersError) as caught:
        fetch(ZIPKIN, cache=Cache(tmp_path), say=ignore)

    text = str(caught.value)
    assert text.startswith("`mvn --batch-mode dependency:copy ")
    assert f"failed with 3; log: {log}\n" in text
    assert text.endswith("  | no such artifact")
    assert log.exists()


def put_into(cache: Cache, key: str) -> None:
    def make(shop: Workshop) -> None:
        (shop.result / "program").touch()

    cache.get(key, make, jobs=1, say=ignore)


@needs_locks
def test_what_cannot_be_run_here_is_said_with_what_is_missing(tmp_path: Path) -> None:
    cache, tools = Cache(tmp_path / "cache"), tmp_path / "tools"
    tools.mkdir()

    def reasons() -> list[str | None]:
        return [unavailable(each, cache=cache, path=str(tools)) for each in (ZIPKIN, JAEGER2)]

    cannot = "is not in the cache and cannot be fetched"
    fetching = "is not in the cache; run: python tests/servers fetch"
    assert reasons() == [
        "real zipkin 3.6.1 cannot run: no `java` here",
        f"real jaeger 2.13.0 {cannot}: no `go` here",
    ]
    a_tool(tools, "java", "echo 'openjdk version \"11.0.2\"' >&2")
    a_tool(tools, "go", "")
    assert reasons() == [
        "real zipkin 3.6.1 cannot run: `java` is 11, and 17 is needed",
        f"real jaeger 2.13.0 {fetching} jaeger",
    ]
    a_tool(tools, "java", "echo 'openjdk version \"21\"' >&2")
    assert reasons()[0] == f"real zipkin 3.6.1 {cannot}: no `mvn` (Maven) here"
    a_tool(tools, "mvn", "")
    assert reasons()[0] == f"real zipkin 3.6.1 {fetching} zipkin"
    for release in (ZIPKIN, JAEGER2):
        put_into(cache, key_of(release))
    assert reasons() == [None, None]


def test_java_versions_are_read_in_their_old_form_and_their_new() -> None:
    texts = ['java version "1.8.0_292"', 'openjdk version "17.0.15" 2025-04-15', 'version "21"', ""]
    assert [java_version(text) for text in texts] == [8, 17, 21, 0]


def test_free_ports_are_all_different() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(1024 <= port <= 65535 for port in ports)


_SERVE = """
import http.server, signal, sys
if sys.argv[2] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if sys.argv[2] == "sick" else 200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@dataclass(frozen=True)
class FakeServer:
    """A child process that answers 200 at its port, or behaves as `how` says."""

    folder: Path
    port: int
    how: str = "well"
    script: str = _SERVE

    name = "fake"

    @property
    def log(self) -> Path:
        return self.folder / "fake.log"

    @property
    def command(self) -> Sequence[str]:
        return [sys.executable, "-c", self.script, str(self.port), self.how]

    @property
    def environ(self) -> Mapping[str, str]:
        return {}

    @property
    def ready_urls(self) -> Sequence[str]:
        return [f"http://127.0.0.1:{self.port}/"]


def plan(*, how: str = "well", script: str = _SERVE) -> Callable[[Path], FakeServer]:
    return lambda folder: FakeServer(folder, free_ports(1)[0], how, script)


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the logs of servers go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_server_answers_within_the_block_and_is_gone_after_it() -> None:
    with serving(plan()) as server:
        assert answers(server.ready_urls[0])
    assert not answers(server.ready_urls[0])
    assert not server.folder.exists()


_STARTS_AND_WAITS = """
import sys, threading
from test_servers import plan, serving
with serving(plan()) as server:
    print(server.ready_urls[0], server.folder, flush=True)
    threading.Event().wait()
"""


def test_a_server_does_not_outlive_tests_that_are_killed() -> None:
    paths = os.pathsep.join(map(str, (TESTS, Path(__file__).parent)))
    environ = {**os.environ, "PYTHONPATH": paths}
    command = [sys.executable, "-c", _STARTS_AND_WAITS]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        url, folder = tests.stdout.readline().split()
        assert answers(url)
        tests.kill()
    assert until(lambda: not answers(url))
    assert until(lambda: not Path(folder).exists())


def test_tests_that_start_real_servers_are_marked() -> None:
    """Which are those that end to end and dependencies run with what is real, and no others."""
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider"]
    files = [str(TESTS / "whole" / name) for name in ("test_end_to_end.py", "test_dependencies.py")]
    found = subprocess.run(
        [*command, "-m", "real_servers", *files], capture_output=True, text=True, check=True
    )
    tests = [line for line in found.stdout.splitlines() if "::" in line]
    assert tests
    assert all("real" in line for line in tests)
    rest = subprocess.run(
        [*command, "-m", "not real_servers", *files], capture_output=True, text=True, check=False
    )
    assert [line for line in rest.stdout.splitlines() if "[real" in line] == []


def test_a_server_that_ignores_the_signal_is_killed() -> None:
    with serving(plan(how="stubborn"), grace_s=0.05) as server:
        pass
    assert not answers(server.ready_urls[0])


def test_a_log_is_kept_where_the_block_raises_and_the_error_names_it(logs: Path) -> None:
    with pytest.raises(KeyError) as caught, serving(plan()) as server:
        raise KeyError("x")
    assert caught.value.__notes__ == [f"the log of the real fake: {server.log}"]
    assert server.log.is_relative_to(logs)
    assert "GET / " in server.log.read_text()


def test_a_log_is_kept_where_the_caller_says_so(logs: Path) -> None:
    with serving(plan(), keep_log=lambda: True) as server:
        pass
    assert list(logs.glob("*/fake.log")) == [server.log]


def test_a_server_that_is_not_ready_in_time_is_stopped_and_its_log_shown(logs: Path) -> None:
    folders: list[FakeServer] = []

    def sick(folder: Path) -> FakeServer:
        folders.append(plan(how="sick")(folder))
        return folders[-1]

    with pytest.raises(ServersError) as caught, serving(sick, deadline_s=1.0):
        pass

    (server,) = folders
    url = server.ready_urls[0]
    text = str(caught.value)
    assert text.startswith(f"fake was not ready after 1 s: {url} does not answer 200; log: ")
    assert str(server.log) in text
    assert list(logs.glob("*/fake.log")) == [server.log]


@pytest.mark.usefixtures("logs")
def test_a_server_that_ends_at_once_is_an_error_with_its_last_words() -> None:
    with (
        pytest.raises(ServersError, match=r"(?s)fake ended with 7; log: .*\n  \| bad config$"),
        serving(plan(script="import sys; print('bad config'); sys.exit(7)")),
    ):
        pass


def test_a_server_whose_port_was_taken_is_started_anew_on_another(logs: Path) -> None:
    taken = "raise SystemExit('listen tcp: bind: address already in use')"
    scripts = [taken, taken, _SERVE]

    def next_plan(folder: Path) -> FakeServer:
        return plan(script=scripts.pop(0))(folder)

    with serving(next_plan) as server:
        assert answers(server.ready_urls[0])
    assert scripts == []
    assert list(logs.iterdir()) == []


def test_zipkin_is_told_to_listen_on_loopback_only_and_keep_spans_in_memory(
    tmp_path: Path,
) -> None:
    server = ZipkinServer(tmp_path / "z.jar", tmp_path, 1234)
    assert server.command == [
        *("java", "-Xmx512m", "-jar", str(tmp_path / "z.jar")),
        *("--armeria.ports[0].ip=127.0.0.1", "--armeria.ports[0].port=1234"),
        "--armeria.ports[0].protocols[0]=http",
    ]
    assert server.environ["STORAGE_TYPE"] == "mem"
    assert server.spans_url == "http://127.0.0.1:1234/api/v2/spans"


def test_every_port_of_jaeger_is_chosen(tmp_path: Path) -> None:
    ports = JaegerPorts(*range(1001, 1014))
    jaeger1 = JaegerServer(tmp_path / "j", tmp_path, 1, ports)
    jaeger2 = JaegerServer(tmp_path / "j", tmp_path, 2, ports)

    chosen = {option.rpartition(":")[2] for option in jaeger1.command[1:]}
    assert chosen | {str(ports.health_grpc)} == {str(port) for port in range(1001, 1014)}
    assert all("=127.0.0.1:" in option for option in jaeger1.command[1:])
    config = Path(jaeger2.command[2]).read_text()
    read = {name for name in jaeger2.environ if f"${{env:{name}}}" in config}
    assert config.count("${env:") == len(read) == 11
    assert (jaeger1.udp_port, jaeger2.environ["THRIFT_COMPACT_PORT"]) == (
        ports.thrift_compact,
        str(ports.thrift_compact),
    )
    assert "OTEL_TRACES_SAMPLER" in jaeger1.environ


def test_the_commands_say_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))

    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert listed.startswith(f"cache: {tmp_path / 'spanserve-servers'}\n")
    for release in (ZIPKIN, JAEGER1, JAEGER2):
        assert f"{release.name:<8} {release.version:<8} real {release.name} " in listed
        assert release.source in listed

    assert main(["fetch"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "error: zipkin 3.6.1 cannot be fetched: no `mvn` (Maven) here",
        "error: jaeger 2.13.0 cannot be fetched: no `go` here",
        "error: jaeger1 1.48.0 cannot be fetched: no `go` here",
    ]
    assert main(["run", "zipkin"]) == 1
    assert capsys.readouterr().err == "error: zipkin cannot run: no `java` here\n"


def test_a_name_that_is_no_server_is_refused_with_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", "jeager"])
    assert caught.value.code == 2
    assert "no server 'jeager' (there are: zipkin, jaeger, jaeger1)" in capsys.readouterr().err


@pytest.mark.parametrize("how", [["-m", "servers"], [str(TESTS / "servers")]])
def test_the_help_tells_each_command_by_example(how: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *how, "--help"],
        cwd=TESTS,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
    for command in ("fetch", "run jaeger", "list"):
        assert f"python tests/servers {command}" in done.stdout
    assert set(RELEASES) == {"zipkin", "jaeger", "jaeger1"}
