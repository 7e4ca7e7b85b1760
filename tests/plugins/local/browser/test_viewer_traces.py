"""The list of traces, in a real browser."""

from typing import TYPE_CHECKING

import httpx
import pytest

from support.serving import until
from support.viewing import comes

if TYPE_CHECKING:
    from playwright.sync_api import Page

TRACES = "/traces/"


def rows(page: "Page") -> list[str]:
    return list(page.locator("table.traces a.row").all_inner_texts())


def test_the_list_has_the_newest_requests_with_their_batches(page: "Page", server: str) -> None:
    page.goto(server + TRACES)
    page.wait_for_selector("table.traces")
    told = httpx.get(f"{server}/traces/api/traces?kind=request&limit=50").json()["traces"]
    assert rows(page) == [each["name"] for each in told]
    ids = page.locator("table.traces td.id").all_inner_texts()
    assert ids == [each["trace_id"][:8] for each in told]
    assert page.title() == "Traces · Viewed"


def test_filters_are_applied_stand_in_the_address_and_can_be_cleared(
    page: "Page", server: str
) -> None:
    page.goto(server + TRACES)
    page.select_option("#status", "error")
    comes(page, "document.querySelectorAll('a.row').length === 1")
    assert rows(page) == ["POST /measure"]
    assert page.locator("tr.error").count() == 1
    assert page.url.endswith("?status=error")
    page.fill("#min", "100000")
    page.get_by_text("No traces with these filters").wait_for()
    page.reload()
    page.get_by_text("No traces with these filters").wait_for()
    assert page.input_value("#min") == "100000"
    page.get_by_role("button", name="Clear the filters").click()
    page.wait_for_selector("table.traces")
    assert len(rows(page)) == 50
    page.fill("#text", "/echo")
    comes(page, "document.querySelectorAll('a.row').length === 1")
    assert rows(page) == ["POST /echo"]


@pytest.mark.parametrize("order", ["desc", "asc"])
def test_the_list_is_sorted_by_duration_and_paged(page: "Page", server: str, order: str) -> None:
    page.goto(f"{server}/traces/?live=")
    page.get_by_role("button", name="Duration").click()
    if order == "asc":
        page.get_by_role("button", name="Duration ↓").click()
    comes(page, f"location.search.includes('{'order' if order == 'asc' else 'sort'}')")
    asked = {"kind": "request", "sort": "duration", "order": order, "limit": "200"}
    told = httpx.get(f"{server}/traces/api/traces", params=asked).json()["traces"]
    wanted = [each["trace_id"][:8] for each in told]
    ids = page.locator("table.traces td.id")
    assert until(lambda: ids.all_inner_texts() == wanted[:50])
    page.get_by_role("button", name="Further").click()
    page.get_by_text("page 2").wait_for()
    assert until(lambda: ids.all_inner_texts() == wanted[50:100])
    page.get_by_role("button", name="Back").click()
    page.get_by_text("page 1").wait_for()


def test_dragging_over_the_scatter_zooms(page: "Page", server: str) -> None:
    page.goto(f"{server}/traces/?live=")
    box = page.locator(".u-over").bounding_box()
    assert box
    page.mouse.move(box["x"] + 5, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 42, steps=4)
    page.mouse.up()
    comes(page, "/since=.*until=/.test(location.search)")
    assert page.locator("#live").get_attribute("aria-pressed") == "false"
    page.get_by_role("button", name="Zoom out").click()
    comes(page, "!location.search.includes('since')")


def test_a_point_of_the_scatter_is_marked_told_and_opened(page: "Page", server: str) -> None:
    page.goto(f"{server}/traces/?live=&status=error")
    page.get_by_text("1 trace, 1 error").wait_for()
    box = page.locator(".u-over").bounding_box()
    assert box
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    offsets = sorted(((x * 8, y * 8) for x in range(-9, 10) for y in range(-9, 10)), key=_distance)
    for x, y in offsets:  # alone on its axes, it is about in the middle
        page.mouse.move(middle[0] + x, middle[1] + y)
        if page.locator(".u-over.pointing").count():
            break
    assert page.locator(".near").inner_text().endswith("· failed")
    page.mouse.down()
    page.mouse.up()
    page.wait_for_selector(".span.error")


def _distance(offset: tuple[int, int]) -> int:
    return offset[0] ** 2 + offset[1] ** 2


def test_a_new_trace_comes_without_being_asked_for(page: "Page", server: str) -> None:
    page.goto(f"{server}/traces/?text=just-now")
    page.get_by_text("No traces with these filters").wait_for()
    httpx.post(f"{server}/echo", json="word", headers={"User-Agent": "just-now"})
    page.wait_for_selector("a.row")
    assert rows(page) == ["POST /echo"]
