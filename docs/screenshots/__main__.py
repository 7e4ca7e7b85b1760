"""Make the pictures of the viewer in docs/images: `uv run --group browser python docs/screenshots`.

A real server, clients that come and go, and Chromium, which must be installed.
"""

import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
IMAGES = HERE.parent / "images"
CLIENTS = 20
PAUSE_S = 0.06
LOAD_S = 8.0
WIDTH = 1120
WAITS = ("peers", "runner", "start")


@contextmanager
def server(folder: str) -> Iterator[str]:
    """Serve with the local tracer; yields the address."""
    config = Path(folder) / "c.yml"
    config.write_text(f"tracing: {{type: local, local: {{path: '{folder}/traces.db'}}}}\n")
    command = [sys.executable, "-m", "spanserve", "serve", str(HERE / "service.py")]
    with subprocess.Popen(
        [*command, "--config", str(config), "--port", "0"], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if found := re.search(r"serves .* on (http://\S+)", line):
                break
        else:
            raise SystemExit("the server did not start")
        threading.Thread(target=process.stderr.read, daemon=True).start()
        try:
            yield found[1]
        finally:
            process.terminate()


def load(url: str) -> None:
    """Send texts from some clients for a while; one of them is empty."""
    end = time.monotonic() + LOAD_S

    def client(number: int) -> None:
        while (now := time.monotonic()) < end:
            time.sleep(random.expovariate(1 / PAUSE_S))
            empty = number == 0 and end - 1.2 < now < end - 1.1
            post(f"{url}/embed", "" if empty else f"text of client {number}")

    threads = [threading.Thread(target=client, args=(each,)) for each in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(1.5)  # until the last is kept


def post(url: str, text: str) -> None:
    """Send a text; a refusal is part of the picture."""
    body = json.dumps(text).encode()
    try:
        urlopen(Request(url, body, {"Content-Type": "application/json"})).close()
    except HTTPError as error:
        error.close()


def ask(url: str) -> Any:
    """Return what the read API answers."""
    with urlopen(url) as answer:
        return json.load(answer)


def shoot(page: Page, name: str, *, below: str, most: int) -> None:
    """Take a picture of the page's upper part, up to the end of an element."""
    page.wait_for_timeout(600)
    box = page.locator(below).last.bounding_box()
    assert box
    height = min(most, box["y"] + box["height"] + 8)
    page.screenshot(
        path=IMAGES / f"viewer-{name}.png",
        clip={"x": 0, "y": 0, "width": WIDTH, "height": height},
    )


def most_mixed(api: str) -> tuple[str, str]:
    """Return the request, and its queue, that waited for each of the three things the longest."""
    wanted = "kind=request&batch_min=6&batch_max=9&status=200&sort=duration&limit=150"
    best = (0.0, "", "")
    for each in ask(f"{api}traces?{wanted}")["traces"]:
        spans = ask(f"{api}traces/{each['trace_id']}")["spans"]
        queue = next(span for span in spans if span["name"] == "queue")
        waits = (queue["attributes"][f"spanserve.wait.for_{of}_ms"] for of in WAITS)
        best = max(best, (min(waits), each["trace_id"], queue["span_id"]))
    return best[1], best[2]


def take_all(page: Page, url: str) -> None:
    """Take each picture."""
    traces = f"{url}/traces/"
    request, queue = most_mixed(f"{traces}api/")
    page.goto(f"{traces}?trace={request}&span={queue}")
    page.wait_for_selector(".between-traces + .waterfall")
    shoot(page, "trace", below=".falls .legend", most=480)
    failed = ask(f"{traces}api/traces?kind=batch&status=error&limit=1")["traces"][0]
    since, until = failed["start_ms"] - 250, failed["start_ms"] + 450
    page.goto(f"{traces}?view=batches&endpoint=/embed&since={since:.3f}&until={until:.3f}")
    page.wait_for_selector("#timeline canvas")
    shoot(page, "batches", below=".legend", most=720)
    page.goto(f"{traces}?view=breakdown&endpoint=/embed")
    page.wait_for_selector("table.parts")
    shoot(page, "breakdown", below=".pair", most=720)
    page.goto(f"{traces}?live=")
    page.wait_for_selector("table.traces")
    shoot(page, "traces", below="table.traces", most=480)


def main() -> None:
    """Serve, send, and take the pictures."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, server(folder) as url, sync_playwright() as kit:
        load(url)
        browser = kit.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-lcd-text"],  # grey letters make small files
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": 800}, color_scheme="light")
        take_all(page, url)
        browser.close()


main()
