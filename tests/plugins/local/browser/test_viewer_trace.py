"""One trace, its batch and back, in a real browser."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from support.viewing import comes

if TYPE_CHECKING:
    from playwright.sync_api import Page


def traces(server: str, **filters: str | int) -> list[dict[str, Any]]:
    found = httpx.get(f"{server}/traces/api/traces", params={"limit": 100, **filters}).json()
    return list(found["traces"])


def shared(server: str) -> dict[str, Any]:
    """Return a request that shared its batch."""
    return traces(server, kind="request", batch_min=3)[0]


def trace(server: str, trace_id: str) -> dict[str, Any]:
    return dict(httpx.get(f"{server}/traces/api/traces/{trace_id}").json())


def names(page: "Page", fall: int = 0) -> list[str]:
    return list(page.locator(".waterfall").nth(fall).locator(".label").all_inner_texts())


def test_one_follows_the_link_to_the_batch_and_back(page: "Page", server: str) -> None:
    request = shared(server)
    batch_id = request["batch_trace_id"]
    page.goto(f"{server}/traces/?live=&batch_min=3")
    page.locator("tr", has_text=request["trace_id"][:8]).locator("a.row").click()
    page.wait_for_selector("#to-batch")
    comes(page, "document.querySelectorAll('.waterfall').length === 2")
    own, batch = trace(server, request["trace_id"]), trace(server, batch_id)
    assert names(page, 0) == [span["name"] for span in own["spans"]]
    assert names(page, 1) == [span["name"] for span in batch["spans"]]
    page.locator("#to-batch").click()
    page.wait_for_selector(".members")
    assert page.url.endswith(f"?trace={batch_id}&from={request['trace_id']}")
    members = page.locator(".members a").all_inner_texts()
    assert members == [link["trace_id"][:8] for link in batch["spans"][0]["links"]]
    assert page.locator(".members .selected a").inner_text() == request["trace_id"][:8]
    page.locator("#to-request").click()
    page.wait_for_selector("#to-batch")
    assert page.url.endswith(f"?trace={request['trace_id']}")


def test_a_permalink_leads_to_a_span_with_all_that_it_says(page: "Page", server: str) -> None:
    request = shared(server)
    queue = next(s for s in trace(server, request["trace_id"])["spans"] if s["name"] == "queue")
    page.goto(f"{server}/traces/?trace={request['trace_id']}&span={queue['span_id']}")
    page.wait_for_selector(".details h2:text('queue')")
    told = page.locator(".details").inner_text()
    for name, value in queue["attributes"].items():
        assert name in told
        assert json.dumps(value).strip('"').removesuffix(".0") in told
    assert "Why it waited" in told
    assert page.locator(".span.selected .label").inner_text() == "queue"


def test_an_error_is_marked_and_told_with_its_event(page: "Page", server: str) -> None:
    failed = traces(server, kind="request", status="error")[0]
    page.goto(f"{server}/traces/?trace={failed['trace_id']}")
    page.locator(".span.error", has_text="run").first.click()
    told = page.locator(".details").inner_text()
    assert "ValueError" in told
    assert "a bad word: <img src=x" in told
    assert page.locator(".title .what-failed").inner_text().startswith("✕ ValueError")


def test_spans_fold_and_unfold(page: "Page", server: str) -> None:
    page.goto(f"{server}/traces/?trace={shared(server)['trace_id']}")
    page.wait_for_selector(".waterfall")
    whole = names(page)
    page.locator(".fold").first.click()
    assert names(page) == whole[:1]
    page.locator(".fold").first.click()
    assert names(page) == whole


def test_a_trace_is_copied_as_text_and_downloaded(
    page: "Page", server: str, tmp_path: Path
) -> None:
    trace_id = shared(server)["trace_id"]
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server)
    page.goto(f"{server}/traces/?trace={trace_id}")
    page.locator("#copy-text").click()
    page.locator("#copy-text .said", has_text="copied").wait_for()
    text = httpx.get(f"{server}/traces/api/traces/{trace_id}/text").text
    assert page.evaluate("navigator.clipboard.readText()") == text
    page.locator("#copy-link").click()
    page.locator("#copy-link .said", has_text="copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == f"{server}/traces/?trace={trace_id}"
    for link, kind in (("OTLP", dict), ("Zipkin", list)):
        with page.expect_download() as coming:
            page.get_by_role("link", name=link, exact=True).click()
        coming.value.save_as(tmp_path / link)
        assert isinstance(json.loads((tmp_path / link).read_text()), kind)


def test_a_trace_that_is_not_there_is_said_so(page: "Page", server: str) -> None:
    page.goto(f"{server}/traces/?trace={'0' * 31}1")
    page.get_by_role("heading", name="No trace 00000000").wait_for()
    page.get_by_role("link", name="All traces").click()
    page.wait_for_selector("table.traces")
