"""What of the user's runs at the start and at the end, in which order, and where."""

import asyncio
import signal
import socket
import textwrap
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request

from spanserve import api, service
from spanserve.config.model import Config
from spanserve.server.lifecycle import LEAST_CLOSE_S
from support.serving import DEADLINE_S, serving, subprocess_server, until

KUBERNETES_GRACE_S = 30


@asynccontextmanager
async def router_life(_: FastAPI) -> AsyncIterator[dict[str, int]]:
    Alive.said.append("router begins")
    async with anyio.create_task_group():  # it must be left by the task that entered it
        yield {"answer": 42}
    Alive.said.append("router ends")


@service
class Alive:
    """Has everything that may run at the start and at the end."""

    said: list[str] = []  # noqa: RUF012  # one for all of its life

    def __init__(self) -> None:
        self.say("made")
        self.loop: asyncio.AbstractEventLoop | None = None

    def say(self, what: str) -> None:
        on_runner = threading.current_thread().name == "spanserve-runner"
        self.said.append(f"{what} on the {'runner' if on_runner else 'loop'}")

    async def warm_up(self) -> None:
        await asyncio.sleep(0)
        self.loop = asyncio.get_running_loop()
        self.say("warm_up")

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.say("close")

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        router = APIRouter(lifespan=router_life)

        @router.get("/answer")
        def answer(request: Request) -> Any:
            return request.state.answer

        app.include_router(router)
        app.router.add_event_handler("startup", lambda: cls.said.append("startup"))
        app.router.add_event_handler("shutdown", lambda: cls.said.append("shutdown"))

    @api
    async def is_same_loop(self) -> bool:
        return self.loop is asyncio.get_running_loop()


def test_handlers_lifespans_and_async_methods_run_around_what_is_served() -> None:
    Alive.said.clear()
    with serving(Alive) as server:
        assert httpx.get(f"{server.url}/answer").json() == 42
        assert httpx.post(f"{server.url}/is_same_loop").json() is True
        begun = ["made on the runner", "warm_up on the loop", "startup", "router begins"]
        assert Alive.said == begun
    assert Alive.said == [*begun, "router ends", "shutdown", "close on the loop"]


LIVES = """
    from contextlib import asynccontextmanager

    from spanserve import api, service


    @asynccontextmanager
    async def life(app):
        print("begins", flush=True)
        yield {"answer": 42}
        print("ends", flush=True)


    @service
    class Lives:
        def __init__(self):
            print("made", flush=True)

        @classmethod
        def configure_app(cls, app):
            app.router.lifespan_context = life

            @app.get("/answer")
            def answer(request: Request) -> int:
                return request.state.answer

        def close(self):
            print("closed", flush=True)

        @api
        def number(self) -> int:
            return 1
"""


def written(folder: Path, name: str, text: str) -> str:
    file = folder / name
    file.write_text(textwrap.dedent(text).replace("    from", "from", 1).lstrip())
    return str(file)


def test_a_lifespan_that_is_set_runs_and_its_state_reaches_requests(tmp_path: Path) -> None:
    file = written(tmp_path, "lives.py", "from fastapi import Request\n" + textwrap.dedent(LIVES))
    with subprocess_server(file) as server:
        # This connection may be older than the state.
        assert httpx.get(f"{server.url}/answer").json() == 42
        assert server.stop(signal.SIGTERM) == 0
    assert server.printed == ["made\n", "begins\n", "ends\n", "closed\n"]


@pytest.mark.parametrize(
    ("code", "place"),
    [
        ('@app.on_event("startup")\n    async def begin():', "begin"),
        ("@asynccontextmanager\n    async def begin(app):", "begin"),
    ],
)
def test_a_start_of_the_users_that_fails_is_told_with_its_own_frames(
    tmp_path: Path, code: str, place: str
) -> None:
    lines = [
        "from contextlib import asynccontextmanager",
        "from spanserve import api, service",
        "@service",
        "class Fails:",
        "  @classmethod",
        "  def configure_app(cls, app):",
        f"    {code}",
        "      1 / 0",
        "      yield" if "app" in code.rpartition("\n")[2] else "",
        "    app.router.lifespan_context = begin" if "asynccontext" in code else "",
        "  @api",
        "  def number(self) -> int: return 1",
    ]
    (tmp_path / "fails.py").write_text("\n".join(lines))
    with subprocess_server(str(tmp_path / "fails.py"), wait=False) as server:
        assert server.process.wait(DEADLINE_S) == 3
    assert "Fails cannot start: ZeroDivisionError: division by zero" in server.text()
    assert f"in {place}: 1 / 0" in server.text()
    assert "Traceback" not in server.text()


STUCK = """
    import asyncio
    from contextlib import asynccontextmanager
    from pathlib import Path

    from spanserve import api, service


    @asynccontextmanager
    async def stuck(app):
        yield
        await asyncio.Event().wait()


    @service
    class Stuck:
        @classmethod
        def configure_app(cls, app):
            app.router.lifespan_context = stuck

        @api
        async def forever(self) -> int:
            Path(__file__).with_name("entered").touch()
            await asyncio.Event().wait()

        async def close(self):
            await asyncio.Event().wait()
"""


def test_a_stop_by_the_defaults_is_within_what_kubernetes_grants() -> None:
    config = Config()
    server, queue = config.server, config.tracing.queue
    steps_s = server.drain_delay_s + server.drain_timeout_s + queue.flush_timeout_s
    # The app's lifespan and the service have a second each, if requests took all of the time.
    assert steps_s + 2 * LEAST_CLOSE_S < KUBERNETES_GRACE_S
    assert (server.drain_timeout_s, queue.flush_timeout_s) == (20, 5)


def test_a_stop_ends_in_time_though_everything_hangs(tmp_path: Path) -> None:
    file = written(tmp_path, "stuck.py", STUCK)
    with socket.create_server(("127.0.0.1", 0)) as backend:  # it never answers
        port = backend.getsockname()[1]
        env = {
            "SPANSERVE__SERVER__DRAIN_TIMEOUT_S": "1",
            "SPANSERVE__TRACING__QUEUE__FLUSH_TIMEOUT_S": "1",
            "SPANSERVE__TRACING__TYPE": "zipkin",
            "SPANSERVE__TRACING__ZIPKIN__URL": f"http://127.0.0.1:{port}",
        }
        with subprocess_server(file, env=env) as server, ThreadPoolExecutor(1) as callers:
            asked = callers.submit(
                httpx.post, f"{server.url}/forever", timeout=DEADLINE_S, json=None
            )
            assert until((tmp_path / "entered").exists)
            server.process.send_signal(signal.SIGTERM)
            # Without bounds of their own, each of four would take for ever, or 20 s.
            assert server.process.wait(12) == 0
            assert asked.result().status_code == 503
    assert "the app's lifespan did not end within 1.0 s; it is given up" in server.text()
    assert "the service's close() did not end within 1.0 s; it is given up" in server.text()
    assert "tracer zipkin did not stop in time" in server.text()
