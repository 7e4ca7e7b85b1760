"""The viewer by keyboard alone, in both themes and two widths, with hostile content, locked."""

import gzip
import re
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

import spanserve_local
from support.serving import subprocess_server, until
from support.viewing import SECRET, SERVICE, comes, configuration, watched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WEB = Path(spanserve_local.__file__).parent / "web"
MOST_BYTES = 120_000


def some_request(server: str) -> dict[str, str]:
    asked = {"kind": "request", "batch_min": "3", "limit": "1"}
    return dict(httpx.get(f"{server}/traces/api/traces", params=asked).json()["traces"][0])


def addresses(server: str) -> dict[str, str]:
    request = some_request(server)
    return {
        "list": "?live=",
        "request": f"?trace={request['trace_id']}",
        "batch": f"?trace={request['batch_trace_id']}&from={request['trace_id']}",
        "batches": "?view=batches&endpoint=%2Fmeasure&live=",
        "breakdown": "?view=breakdown&endpoint=%2Fmeasure&live=",
        "empty": "?text=there-is-no-such-text&live=",
    }


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 800)])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_window(
    chromium: "Browser", server: str, theme: str, width: int
) -> None:
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415  # of the group `browser`

    found = []
    with watched(chromium, color_scheme=theme, width=width, bypass_csp=True) as page:
        for name, address in addresses(server).items():
            page.goto(f"{server}/traces/{address}")
            page.wait_for_load_state("networkidle")
            violations = Axe().run(page).response["violations"]
            found += [f"{name}: {each['id']}: {each['nodes'][0]['target']}" for each in violations]
            wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
            found += [f"{name}: wider than {width} pixels"] * bool(wide)
    assert found == []


def test_a_theme_is_picked_and_remembered(page: "Page", server: str) -> None:
    def ground() -> str:
        return str(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))

    page.emulate_media(color_scheme="light")
    page.goto(f"{server}/traces/")
    light = ground()
    page.locator("#theme").click()
    page.locator("#theme").click()
    assert page.locator("#theme").inner_text() == "Dark"
    dark = ground()
    assert dark != light
    page.reload()
    page.wait_for_selector("#theme")
    assert ground() == dark


def test_all_is_done_with_the_keyboard(page: "Page", server: str) -> None:
    press = page.keyboard.press
    page.goto(f"{server}/traces/?live=&batch_min=3")
    page.wait_for_selector("a.row")
    press("/")
    page.keyboard.type("look up")
    comes(page, "location.search.includes('text=')")
    page.wait_for_load_state("networkidle")
    press("Tab")
    press("j")
    press("j")
    second = page.locator("table.traces td.id").nth(1).inner_text()
    press("Enter")
    page.wait_for_selector(".waterfall")
    assert f"trace={second}" in page.url
    press("ArrowDown")
    press("ArrowDown")
    comes(page, "location.search.includes('span=')")
    assert page.locator(".details h2").inner_text() == "queue"
    press("b")
    page.wait_for_selector(".members")
    press("b")
    page.wait_for_selector("#to-batch")
    press("2")
    page.wait_for_selector("#timeline canvas")
    for _ in range(20):  # some were alone in their batch
        press("ArrowRight")
        if page.locator("#open-batch").count():
            break
    page.locator("#open-batch").wait_for()
    press("ArrowDown")
    page.locator("#open-request").wait_for()
    before = page.locator("#window").inner_text()
    press("+")
    assert page.locator("#window").inner_text() != before
    press("Enter")
    page.wait_for_selector(".waterfall")
    press("3")
    page.wait_for_selector("table.parts")
    press("?")
    page.wait_for_selector("dialog[open]")
    press("Escape")
    page.wait_for_selector("dialog", state="detached")


def test_keys_of_a_single_letter_can_be_switched_off(page: "Page", server: str) -> None:
    page.goto(f"{server}/traces/")
    page.get_by_role("button", name="Keys").click()
    page.get_by_label("keys of a single letter act").uncheck()
    page.get_by_role("button", name="Close").click()
    page.keyboard.press("2")
    assert "view" not in page.url
    page.get_by_role("link", name="Batches").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#timeline canvas")


def test_hostile_names_and_values_are_shown_and_run_nothing(page: "Page", server: str) -> None:
    told = "console.error('policy ' + event.violatedDirective)"
    page.add_init_script(f"addEventListener('securitypolicyviolation', event => {told})")
    asked = {"text": "document.title", "kind": "request", "limit": "10"}
    found = httpx.get(f"{server}/traces/api/traces", params=asked).json()["traces"]
    assert len(found) == 2
    for each in found:
        page.goto(f"{server}/traces/?trace={each['trace_id']}")
        page.wait_for_selector(".waterfall")
        for at in range(page.locator("[role=treeitem]").count()):
            page.locator("[role=treeitem]").nth(at).click()
        assert page.title().startswith("POST /measure")
        assert page.locator("main img, main script, main svg").count() == 0
    assert "<svg onload" in page.inner_text("body") + page.content()
    page.goto(
        f"{server}/traces/?text=%3Cscript%3Edocument.title%3D1%3C%2Fscript%3E&endpoint=%3Cimg%20src%3Dx%3E"
    )
    page.wait_for_load_state("networkidle")
    assert page.locator("main img, main script").count() == 0


def test_whoever_has_no_token_gets_a_form_and_whoever_has_it_comes_where_they_wanted(
    chromium: "Browser", tmp_path: Path
) -> None:
    environment = configuration(tmp_path, TRACING__LOCAL__TOKEN=SECRET)
    with subprocess_server(str(SERVICE), env=environment) as running, watched(chromium) as page:
        page.goto(f"{running.url}/traces/?view=breakdown")
        page.fill("#token", "wrong")
        page.keyboard.press("Enter")
        page.get_by_text("not the token").wait_for()
        page.fill("#token", SECRET)
        page.keyboard.press("Enter")
        page.get_by_text("No requests yet").wait_for()
        assert page.url == f"{running.url}/traces/?view=breakdown"
        page.context.clear_cookies()  # as when it has run out while the page is open
        page.keyboard.press("1")
        page.get_by_label("Token").wait_for()
        page.fill("#token", "wrong again")
        page.keyboard.press("Enter")
        page.get_by_text("not the token").wait_for()
        page.fill("#token", SECRET)
        page.keyboard.press("Enter")
        page.get_by_text("No requests yet").wait_for()


def test_the_viewer_works_behind_a_proxy_that_strips_a_root_path(
    chromium: "Browser", tmp_path: Path
) -> None:
    environment = configuration(tmp_path, SERVER__ROOT_PATH="/models/a")
    with subprocess_server(str(SERVICE), env=environment) as running, watched(chromium) as page:
        base = f"{running.url}/models/a"
        page.route(
            f"{base}/**",
            lambda route: route.continue_(url=route.request.url.replace(base, running.url, 1)),
        )
        httpx.post(f"{running.url}/measure", json="word")
        assert httpx.get(f"{running.url}/traces").headers["location"] == f"{base}/traces/"
        page.goto(f"{base}/traces/")
        page.locator("a.row").first.click()
        page.wait_for_selector(".waterfall")
        assert re.fullmatch(rf"{re.escape(base)}/traces/\?trace=[0-9a-f]{{32}}", page.url)


def test_the_page_says_when_the_server_is_gone(chromium: "Browser", tmp_path: Path) -> None:
    with watched(chromium) as page:
        with subprocess_server(str(SERVICE), env=configuration(tmp_path)) as running:
            page.goto(f"{running.url}/traces/")
            page.get_by_text("No requests yet").wait_for()
        page.get_by_text("the server does not answer").first.wait_for()
        assert until(lambda: page.locator("[role=alert]").count() > 0)


def test_the_whole_page_weighs_less_than_120_kb_with_its_licences() -> None:
    files = [path for path in WEB.rglob("*") if path.is_file()]
    assert "LICENSES.txt" in {path.name for path in files}
    weight = sum(len(gzip.compress(path.read_bytes(), 9)) for path in files)
    assert weight < MOST_BYTES


def test_the_page_names_all_its_modules_so_that_they_come_at_once() -> None:
    named = re.findall(r'(?:href|src)="([^"]+\.js)"', (WEB / "index.html").read_text())
    assert sorted(named) == sorted(str(path.relative_to(WEB)) for path in WEB.rglob("*.js"))
