// The page: its head with what all views share, and the view that the address names.

import { html, render, useEffect, useRef, useState } from "./vendor/preact.js";
import { getJson, LOGIN_NEEDED, useData } from "./api.js";
import { Breakdown } from "./breakdown.js";
import { mostUsed } from "./endpoints.js";
import { bytes, count, isUtc, remember, remembered, setUtc, when } from "./format.js";
import { Help } from "./help.js";
import { Login } from "./login.js";
import { go, isFixed, Link, RANGES, scopeOf, useRoute } from "./route.js";
import { Timeline } from "./timeline.js";
import { Trace } from "./trace.js";
import { Traces } from "./traces.js";
import { useKeys } from "./ui.js";

const VIEWS = [
  ["traces", "Traces"],
  ["batches", "Batches"],
  ["breakdown", "Breakdown"],
];
const THEMES = ["auto", "light", "dark"];

function App() {
  const here = useRoute();
  const [locked, setLocked] = useState(false);
  const [visit, setVisit] = useState(0);
  useEffect(() => {
    const lock = () => setLocked(true);
    window.addEventListener(LOGIN_NEEDED, lock);
    return () => window.removeEventListener(LOGIN_NEEDED, lock);
  }, []);
  const enter = () => {
    setLocked(false);
    setVisit(visit + 1);
  };
  if (locked) return html`<${Login} onEnter=${enter} />`;
  return html`<${Page} here=${here} key=${visit} />`;
}

function Page({ here }) {
  const [help, setHelp] = useState(false);
  const [, redraw] = useState(0);
  const status = useData((signal) => getJson("status", {}, signal), "status", 10_000);
  const known = useData((signal) => getJson("endpoints", {}, signal), "endpoints", 10_000);
  const endpoints = known.data?.endpoints ?? [];
  const main = useRef(null);
  const place = here.trace || here.view;
  useEffect(() => main.current.querySelector("h1")?.focus({ preventScroll: true }), [place]);
  const show = (view) => go({ ...nothing(here), ...scopeOf(here), view });
  useKeys({
    1: () => show("traces"),
    2: () => show("batches"),
    3: () => show("breakdown"),
    l: () => !here.trace && go({ live: here.live ? "" : "1" }, { replace: true }),
    "?": () => setHelp(true),
  });
  const props = { here, endpoints, status: status.data };
  return html`
    <${Head} ...${props} onHelp=${() => setHelp(true)} onClock=${() => redraw((n) => n + 1)} />
    <main ref=${main}>
      ${
        here.trace
          ? html`<${Trace} ...${props} key=${here.trace} />`
          : here.view === "batches"
            ? html`<${Timeline} ...${props} />`
            : here.view === "breakdown"
              ? html`<${Breakdown} ...${props} />`
              : html`<${Traces} ...${props} />`
      }
    </main>
    <${Foot} status=${status} />
    ${help && html`<${Help} onClose=${() => setHelp(false)} />`}
  `;
}

const nothing = (here) => Object.fromEntries(Object.keys(here).map((name) => [name, undefined]));

function Head({ here, endpoints, status, onHelp, onClock }) {
  const at = here.trace ? "" : here.view;
  return html`<header class="head">
    <span class="service" title="the service">${status?.service ?? "spanserve"}</span>
    <nav aria-label="Views">
      ${VIEWS.map(
        ([view, title]) => html`<${Link}
          to=${{ ...scopeOf(here), view }}
          aria-current=${at === view ? "page" : undefined}
          >${title}<//
        >`,
      )}
    </nav>
    ${!here.trace && html`<${Scope} here=${here} endpoints=${endpoints} />`}
    <span class="grow"></span>
    <${Clock} onChange=${onClock} />
    <${Theme} />
    <button type="button" class="plain" onClick=${onHelp} title="Keys (?)">Keys</button>
  </header>`;
}

/** The endpoint and the time, the same in all views. */
function Scope({ here, endpoints }) {
  const names = endpoints.map((each) => each.endpoint);
  if (here.endpoint && !names.includes(here.endpoint)) names.push(here.endpoint);
  const fixed = isFixed(here);
  const asked = here.endpoint || (here.view !== "traces" ? mostUsed(endpoints) : "");
  return html`<div class="scope">
    <label
      ><span class="offscreen">Endpoint</span>
      <select id="endpoint" value=${asked} onChange=${(event) => go({ endpoint: event.target.value })}>
        ${here.view === "traces" && html`<option value="">all endpoints</option>`}
        ${names.map((name) => html`<option value=${name}>${name}</option>`)}
      </select></label
    >
    <label
      ><span class="offscreen">Time</span>
      <select
        id="range"
        value=${fixed ? "fixed" : here.range}
        onChange=${(event) => go({ range: event.target.value, since: "", until: "", live: "1" })}
      >
        ${fixed && html`<option value="fixed">${spanOf(here)}</option>`}
        ${RANGES.map(([name, title]) => html`<option value=${name}>${title}</option>`)}
      </select></label
    >
    <button
      type="button"
      id="live"
      class="live"
      aria-pressed=${here.live && !fixed ? "true" : "false"}
      title="Follow live (l)"
      onClick=${() =>
        fixed
          ? go({ since: "", until: "", live: "1" })
          : go({ live: here.live ? "" : "1" }, { replace: true })}
    >
      Live
    </button>
  </div>`;
}

function spanOf(here) {
  const since = here.since === "" ? "…" : when(Number(here.since));
  const until = here.until === "" ? "…" : when(Number(here.until)).split(" ").at(-1);
  return `${since} – ${until}`;
}

function Clock({ onChange }) {
  const utc = isUtc();
  const turn = () => {
    setUtc(!utc);
    onChange();
  };
  return html`<button type="button" class="plain" onClick=${turn} title="Times in UTC or local">
    ${utc ? "UTC" : "Local time"}
  </button>`;
}

function Theme() {
  const [theme, setTheme] = useState(remembered("theme", "auto"));
  const turn = () => {
    const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    setTheme(next);
    remember("theme", next);
    dress(next);
  };
  return html`<button type="button" class="plain" id="theme" onClick=${turn} title="Colours: as the system, light, dark">
    ${{ auto: "Auto", light: "Light", dark: "Dark" }[theme] ?? "Auto"}
  </button>`;
}

function dress(theme) {
  document.documentElement.dataset.theme = theme;
  window.dispatchEvent(new Event("spanserve-theme"));
}

function Foot({ status }) {
  if (status.error)
    return html`<footer class="foot failed" role="alert">${status.error.message}</footer>`;
  if (!status.data) return null;
  const { traces, spans, bytes: used, max_bytes, oldest_ms, dropped, version } = status.data;
  const lost = Object.entries(dropped ?? {}).filter(([, number]) => number > 0);
  return html`<footer class="foot">
    <span>${count(traces)} traces, ${count(spans)} spans</span>
    <span>${bytes(used)}${max_bytes ? ` of ${bytes(max_bytes)}` : ""}</span>
    ${oldest_ms && html`<span>since ${when(oldest_ms, 0)}</span>`}
    ${
      lost.length > 0 &&
      html`<span class="failed">dropped: ${lost.map(([why, number]) => `${count(number)} (${why})`).join(", ")}</span>`
    }
    <span class="grow"></span>
    <span>spanserve-local ${version}</span>
  </footer>`;
}

dress(remembered("theme", "auto"));
render(html`<${App} />`, document.getElementById("app"));
