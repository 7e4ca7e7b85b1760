// Small parts that several views use.

import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/preact.js";
import { remember, remembered } from "./format.js";

export const WAITS = [
  ["runner", "wait for the runner"],
  ["peers", "wait for peers"],
  ["start", "to start"],
];

export const REASONS = {
  full: "it had max_batch_size items",
  idle: "nobody was expected soon enough to be worth waiting for",
  deadline: "waiting would have paid, but the latency target left no time for it",
  drain: "the server was stopping",
};

export function Swatch({ of }) {
  return html`<span class=${`swatch c-${of}`} aria-hidden="true"></span>`;
}

export function Loading({ what }) {
  return html`<p class="notice quiet" role="status">Loading ${what} …</p>`;
}

export function Failure({ error, what }) {
  if (!error) return null;
  return html`<p class="notice failed" role="alert"><b>No ${what}:</b> ${error.message}</p>`;
}

export function Notice({ children }) {
  return html`<div class="notice quiet" role="status">${children}</div>`;
}

/** A button that copies what `text()` returns, and says that it did. */
export function Copy({ text, children, label, id }) {
  const [said, setSaid] = useState("");
  useEffect(() => {
    if (!said) return undefined;
    const timer = setTimeout(() => setSaid(""), 1500);
    return () => clearTimeout(timer);
  }, [said]);
  const copy = async () => {
    try {
      await write(await text());
      setSaid("copied");
    } catch {
      setSaid("could not copy");
    }
  };
  return html`<button type="button" id=${id} class="plain" aria-label=${label} onClick=${copy}>
    ${children}<span class="said" role="status">${said && ` ${said}`}</span>
  </button>`;
}

/** Over plain HTTP from another machine there is no clipboard but the old way. */
async function write(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return;
    } catch {
      // Refused, as where the page is not in front: try the old way.
    }
  }
  const area = document.createElement("textarea");
  const before = document.activeElement;
  area.value = text;
  area.className = "offscreen";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  before?.focus();
  if (!done) throw new Error("no clipboard");
}

/** The width of an element, as it changes. */
export function useWidth() {
  const ref = useRef(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const look = new ResizeObserver(([entry]) => setWidth(Math.floor(entry.contentRect.width)));
    look.observe(ref.current);
    return () => look.disconnect();
  }, []);
  return [ref, width];
}

const single = { on: remembered("keys", "1") === "1" };

export const singleKeys = () => single.on;

export function setSingleKeys(on) {
  single.on = on;
  remember("keys", on ? "1" : "");
}

const TYPED = "input:not([type=checkbox]), select, textarea";

/** Hear keys while the view is there: `{ j: next, Escape: leave }`. */
export function useKeys(keys) {
  const latest = useRef(keys);
  latest.current = keys;
  useLayoutEffect(() => {
    const hear = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
      if (event.target.closest?.(TYPED) || document.querySelector("dialog[open]")) return;
      if (event.key.length === 1 && !single.on) return;
      const act = latest.current[event.key];
      if (act && act(event) !== false) event.preventDefault();
    };
    document.addEventListener("keydown", hear);
    return () => document.removeEventListener("keydown", hear);
  }, []);
}

/** Colours of the style sheet, for a canvas; `theme` is there to be asked again when it changes. */
export function colours(names) {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(
    names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]),
  );
}

/** Counts up when light turns to dark or back. */
export function useTheme() {
  const [turns, setTurns] = useState(0);
  useEffect(() => {
    const turn = () => setTurns((before) => before + 1);
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", turn);
    window.addEventListener("spanserve-theme", turn);
    return () => {
      system.removeEventListener("change", turn);
      window.removeEventListener("spanserve-theme", turn);
    };
  }, []);
  return turns;
}
