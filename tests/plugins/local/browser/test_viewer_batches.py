"""The batches over time and the breakdown, in a real browser."""

import re
from typing import TYPE_CHECKING

import httpx

from support.viewing import comes

if TYPE_CHECKING:
    from playwright.sync_api import Page

BATCHES = "/traces/?view=batches&endpoint=%2Fmeasure&live="


def window(page: "Page") -> tuple[float, float]:
    """Return the stretch of time that stands in the address, in seconds."""
    comes(page, "/since=.*until=/.test(location.search)")
    found = re.search(r"since=([\d.]+)&until=([\d.]+)", page.url)
    assert found
    return float(found[1]), float(found[2])


def length(page: "Page") -> float:
    since, until = window(page)
    return until - since


def settled(page: "Page", before: float) -> float:
    """Wait until another window stands in the address, and return its length."""
    comes(
        page,
        "before => Math.abs(new URLSearchParams(location.search).get('until')"
        " - new URLSearchParams(location.search).get('since') - before) > 1e-2",
        before,
    )
    return length(page)


def test_the_timeline_zooms_by_button_ruler_and_overview(page: "Page", server: str) -> None:
    page.goto(server + BATCHES)
    page.wait_for_selector("#timeline canvas")
    page.locator("#zoom-out").click()
    first = length(page)
    page.locator("#zoom-in").click()
    second = settled(page, first)
    assert abs(second - first / 2) < 0.01
    box = page.locator("#timeline canvas").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 72)  # the ruler
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 72, steps=4)
    page.mouse.up()
    third = settled(page, second)
    assert abs(third - second / 4) < second / 50
    page.mouse.move(box["x"] + 2, box["y"] + 20)  # the overview
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 20, steps=4)
    page.mouse.up()
    assert settled(page, third) > third


def test_dragging_the_picture_moves_in_time(page: "Page", server: str) -> None:
    page.goto(server + BATCHES)
    page.wait_for_selector("#timeline canvas")
    page.locator("#zoom-in").click()
    since, until = window(page)
    box = page.locator("#timeline canvas").bounding_box()
    assert box
    page.mouse.move(box["x"] + 100, box["y"] + 150)
    page.mouse.down()
    page.mouse.move(box["x"] + 100 + box["width"] / 2, box["y"] + 150, steps=4)
    page.mouse.up()
    comes(page, "since => !location.search.includes(since)", f"since={since:.3f}")
    later = window(page)
    half = (until - since) / 2
    assert abs(later[0] - (since - half)) < half / 20
    assert abs(later[1] - (until - half)) < half / 20


def test_a_batch_is_chosen_in_the_table_told_in_words_and_opened(page: "Page", server: str) -> None:
    page.goto(server + BATCHES)
    rows = page.locator("table.batches tbody tr")
    row = rows.filter(has=page.locator("td:nth-child(2):not(:text-is('1'))")).first
    size = row.locator("td").nth(1).inner_text()
    reason = row.locator("td").nth(2).inner_text()
    row.locator("td").nth(1).click()
    told = page.locator(".chosen").inner_text()
    assert told.startswith(f"batch of {size} released at")
    assert reason in told
    page.keyboard.press("ArrowDown")
    page.locator("#open-request").wait_for()
    assert "for the runner" in page.locator(".chosen").inner_text()
    page.locator("#open-batch").click()
    page.wait_for_selector(".members")
    assert page.locator("h1").inner_text().startswith("batch /measure")


def test_the_timeline_follows_what_comes(page: "Page", server: str) -> None:
    page.goto(f"{server}/traces/?view=batches&endpoint=%2Fmeasure")
    before = page.locator("#window").inner_text()
    httpx.post(f"{server}/measure", json="word")
    comes(page, "before => document.querySelector('#window').innerText !== before", before)


def test_the_breakdown_has_parts_sizes_reasons_and_advice(page: "Page", server: str) -> None:
    page.goto(f"{server}/traces/?view=breakdown&endpoint=%2Fmeasure&live=")
    page.wait_for_selector("table.parts")
    told = httpx.get(f"{server}/traces/api/breakdown?endpoint=/measure").json()
    assert page.locator(".advice p").inner_text() == told["advice"]["text"]
    assert page.locator("table.parts tbody th").all_inner_texts() == [
        part["name"] for part in told["parts"]
    ]
    bars = page.locator("table.bars")
    assert bars.nth(0).locator("th a").all_inner_texts() == [
        str(size) for size, _ in told["batch_sizes"]
    ]
    assert set(bars.nth(1).locator("th a").all_inner_texts()) == set(told["reasons"])
    bars.nth(1).locator("th a").first.click()
    page.wait_for_selector("table.traces")
    assert set(page.locator("a.row").all_inner_texts()) == {"batch /measure"}


def test_a_stretch_of_the_timeline_has_a_breakdown_of_its_own(page: "Page", server: str) -> None:
    page.goto(server + BATCHES)
    page.locator("#zoom-in").click()
    since, until = window(page)
    page.get_by_role("link", name="breakdown of this stretch").click()
    page.wait_for_selector("h1:text('Where the time of /measure goes')")
    assert window(page) == (since, until)
