// Where we are: all of it stands in the page's query, so that every address is a permalink.

import { html, useEffect, useState } from "./vendor/preact.js";

const DEFAULTS = {
  view: "traces",
  endpoint: "",
  range: "15m",
  since: "",
  until: "",
  kind: "request",
  status: "",
  min: "",
  max: "",
  batch_min: "",
  batch_max: "",
  reason: "",
  text: "",
  sort: "start",
  order: "desc",
  live: "1",
  trace: "",
  span: "",
  from: "",
};

export const RANGES = [
  ["1m", "last minute", 60_000],
  ["5m", "last 5 minutes", 300_000],
  ["15m", "last 15 minutes", 900_000],
  ["1h", "last hour", 3_600_000],
  ["6h", "last 6 hours", 21_600_000],
  ["24h", "last 24 hours", 86_400_000],
  ["all", "all that is kept", Infinity],
];

const CHANGED = "spanserve-route";

export function route() {
  const query = new URLSearchParams(location.search);
  return Object.fromEntries(
    Object.entries(DEFAULTS).map(([name, otherwise]) => [name, query.get(name) ?? otherwise]),
  );
}

export function hrefOf(target) {
  const query = new URLSearchParams();
  for (const [name, otherwise] of Object.entries(DEFAULTS)) {
    const value = target[name] ?? otherwise;
    if (String(value) !== otherwise) query.set(name, value);
  }
  return query.size ? `?${query}` : "./";
}

/** Go to the present place with these changes. */
export function go(changes, { replace = false } = {}) {
  const href = hrefOf({ ...route(), ...changes });
  if (replace) history.replaceState(null, "", href);
  else history.pushState(null, "", href);
  window.dispatchEvent(new Event(CHANGED));
}

export function useRoute() {
  const [here, setHere] = useState(route());
  useEffect(() => {
    const look = () => setHere(route());
    window.addEventListener("popstate", look);
    window.addEventListener(CHANGED, look);
    return () => {
      window.removeEventListener("popstate", look);
      window.removeEventListener(CHANGED, look);
    };
  }, []);
  return here;
}

/** A real link, which a plain click follows without loading the page anew. */
export function Link({ to, children, replace, ...rest }) {
  const href = hrefOf(to);
  const follow = (event) => {
    if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    if (replace) history.replaceState(null, "", href);
    else history.pushState(null, "", href);
    window.dispatchEvent(new Event(CHANGED));
    window.scrollTo(0, 0);
  };
  return html`<a href=${href} onClick=${follow} ...${rest}>${children}</a>`;
}

/** What stays when one goes from one view to another: the endpoint and the time. */
export function scopeOf(here) {
  const { endpoint, range, since, until } = here;
  return { endpoint, range, since, until };
}

export const isFixed = (here) => here.since !== "" || here.until !== "";

/** The range as the API takes it; of a sliding one it moves with the clock. */
export function timesOf(here) {
  if (isFixed(here)) return { since_ms: here.since, until_ms: here.until };
  const length = RANGES.find(([name]) => name === here.range)?.[2] ?? 900_000;
  return length === Infinity ? {} : { since_ms: Date.now() - length };
}

export function filtersOf(here) {
  return {
    endpoint: here.endpoint,
    kind: here.kind === "all" ? "" : here.kind,
    status: here.status,
    min_ms: here.min,
    max_ms: here.max,
    batch_min: here.batch_min,
    batch_max: here.batch_max,
    reason: here.reason,
    text: here.text,
    ...timesOf(here),
  };
}
