"""The examples of the docs: each is served, and its client sees what it should."""

import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from spanserve.testing import Client, client

EXAMPLES: Final = Path(__file__).parents[2] / "docs" / "examples"
RUNNERS: Final = ("thread", "process")
KEY: Final = "a-key-of-the-example"


def run(
    name: str,
    capsys: pytest.CaptureFixture[str],
    look: Callable[[Client], None] | None = None,
    runner: str = "thread",
) -> list[str]:
    """Serve an example, run its client, and return what that printed."""
    folder = EXAMPLES / name
    file = folder / "config.yml"
    config = file if file.exists() else {"runner": {"type": runner}}
    ask = runpy.run_path(str(folder / "client.py"))["main"]
    with client(folder / "service.py", config=config) as served:
        ask(served.url)
        printed = capsys.readouterr().out.splitlines()
        if look is not None:
            look(served)
    return printed


@pytest.mark.parametrize("runner", RUNNERS)
def test_images_are_classified_and_made_small(
    capsys: pytest.CaptureFixture[str], runner: str
) -> None:
    assert run("images", capsys, runner=runner) == [
        "crimson red",
        "navy blue",
        "422 no image: UnidentifiedImageError",
        "image/png (8, 8) L",
    ]


@pytest.mark.parametrize("runner", RUNNERS)
def test_embeddings_find_the_nearest_text(capsys: pytest.CaptureFixture[str], runner: str) -> None:
    nearest = "the cat sat on the mat"
    assert run("embeddings", capsys, runner=runner) == [f"256 {nearest}", nearest]


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_chat_is_whole_or_streamed_and_its_tokens_are_in_the_trace(
    capsys: pytest.CaptureFixture[str], runner: str
) -> None:
    def look(served: Client) -> None:
        body = {"messages": [{"role": "user", "content": "bye"}]}
        trace = served.trace(served.post("/v1/chat/completions", json=body))
        assert trace.tree()["POST /v1/chat/completions"]["run"] == {"token": {}, "token #2": {}}

    assert run("chat", capsys, look, runner) == [
        "Hello! What can I do for you?",
        "|Hello!| What| can|",
        "400 http_400",
    ]


def test_a_guarded_service_asks_for_its_key(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", KEY)

    assert run("guarded", capsys) == [
        "good morning Ada",
        "unauthorized",
        "https://app.example",
        "{'service': 'Guarded', 'asked': 1}",
        "ready",
    ]


def test_a_table_s_rows_are_classified_from_a_bundle(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(EXAMPLES / "tabular", tmp_path / "tabular"))
    subprocess.run([sys.executable, "train.py"], cwd=folder, check=True)
    ask = runpy.run_path(str(folder / "client.py"))["main"]

    with client(folder, config={"service": {"sure_from": 0.5}}) as served:
        ask(served.url)

    assert capsys.readouterr().out.splitlines() == [
        "setosa True",
        "setosa",
        "virginica",
        "item.sepal_length: Input should be greater than 0",
    ]
