// The batches over time: who waited for what, which batch took them, and why it was released.

import { html, useCallback, useEffect, useMemo, useRef, useState } from "./vendor/preact.js";
import { getJson, useData } from "./api.js";
import { BatchTable } from "./batch-table.js";
import { mostUsed } from "./endpoints.js";
import { clock, count, duration, plural } from "./format.js";
import { go, isFixed, Link, timesOf } from "./route.js";
import { draw, geometry } from "./timeline-canvas.js";
import { lastOf, layout, summaryOf } from "./timeline-model.js";
import { usePointer, zoomed } from "./timeline-pointer.js";
import { Chosen, Legend, Summary } from "./timeline-words.js";
import { colours, Failure, Loading, Notice, useKeys, useTheme, useWidth } from "./ui.js";

const FIRST = 1500;
const MOST = 4000;
const LIVE_MS = 1000;
const SETTLE_MS = 200;
const PALETTE = [
  "runner",
  "peers",
  "start",
  "run",
  "other",
  "error",
  "text",
  "text-muted",
  "line",
  "paper",
  "veil",
  "focus",
  "on-run",
];

export function Timeline({ here, endpoints, status }) {
  const endpoint = here.endpoint || mostUsed(endpoints);
  const fixed = isFixed(here);
  const live = Boolean(here.live) && !fixed;
  const [view, setView] = useState(null);
  const span = useRef(0);
  const asked = fixed ? padded(Number(here.since || 0), Number(here.until || Date.now())) : null;
  const key = JSON.stringify([endpoint, here.range, fixed ? roughly(asked) : ""]);
  const told = useData(
    async (signal) => {
      if (!endpoint) return null;
      const times =
        asked ??
        (live && span.current
          ? { since_ms: Date.now() - Math.max(3000, 4 * span.current) }
          : timesOf(here));
      let data = await getJson(
        "timeline",
        { endpoint, ...times, limit: fixed ? MOST : FIRST },
        signal,
      );
      if (!fixed && data.batches.trace_id.length === 0 && times.since_ms) {
        data = await getJson("timeline", { endpoint, ...timesOf(here), limit: FIRST }, signal);
      }
      return data;
    },
    key,
    live ? LIVE_MS : 0,
  );
  const model = useMemo(
    () =>
      told.data?.requests.trace_id.length || told.data?.batches.trace_id.length
        ? layout(told.data)
        : null,
    [told.data],
  );
  useEffect(() => {
    document.title = `Batches of ${endpoint || "…"} · ${status?.service ?? "spanserve"}`;
  }, [endpoint, status?.service]);
  useEffect(() => {
    if (!model) return;
    if (fixed) {
      setView(windowOf(here, model, told.data.left_out));
    } else if (live && span.current) {
      setView({ from: model.to - span.current * 0.98, to: model.to + span.current * 0.02 });
    } else if (!view || live) {
      const last = lastOf(model);
      span.current = last.to - last.from;
      setView(last);
    }
  }, [model, fixed, here.since, here.until]);
  useEffect(() => {
    if (!fixed) span.current = 0;
  }, [endpoint]);
  const settle = useRef(0);
  const look = useCallback((next) => {
    setView(next);
    span.current = next.to - next.from;
    clearTimeout(settle.current);
    settle.current = setTimeout(
      () => go({ since: next.from.toFixed(3), until: next.to.toFixed(3) }, { replace: true }),
      SETTLE_MS,
    );
  }, []);
  useEffect(() => () => clearTimeout(settle.current), []);
  return html`
    <h1 tabindex="-1">Batches of ${endpoint || "…"}</h1>
    <${Failure} error=${told.error} what="timeline" />
    ${told.loading && !told.data && html`<${Loading} what="batches" />`}
    ${
      told.data &&
      !model &&
      html`<${Notice}>
      <p>No batches in this time.</p>
      <p><button type="button" onClick=${() => go({ range: "all", since: "", until: "" })}>Look at all that is kept</button></p>
    <//>`
    }
    ${!endpoint && !told.loading && html`<${Notice}>No requests yet.<//>`}
    ${model && view && html`<${Chart} here=${here} model=${model} view=${view} onLook=${look} endpoint=${endpoint} leftOut=${told.data.left_out} live=${live} />`}
  `;
}

/** More than is shown, so that one may move a little without a wait. */
function padded(since, until) {
  const pad = until - since;
  return { since_ms: since - pad, until_ms: until + pad };
}

/** So that moving by a little asks for nothing new. */
function roughly({ since_ms, until_ms }) {
  const step = (until_ms - since_ms) / 6;
  const power = 2 ** Math.round(Math.log2(step));
  return [Math.round(since_ms / power), Math.round(until_ms / power), power];
}

function windowOf(here, model, leftOut) {
  const view = { from: Number(here.since || model.from), to: Number(here.until || model.to) };
  if (leftOut && view.to - view.from > 2 * (model.to - model.from)) return lastOf(model);
  return view.to > view.from ? view : lastOf(model);
}

function Chart({ here, model, view, onLook, endpoint, leftOut, live }) {
  const [box, width] = useWidth();
  const canvas = useRef(null);
  const theme = useTheme();
  const colour = useMemo(() => colours(PALETTE), [theme]);
  const [chosen, setChosen] = useState({ block: null, request: null, kept: false });
  const [cursor, setCursor] = useState(null);
  const shape = geometry(model, view, Math.max(1, width));
  const block =
    chosen.block && model.blocks.find((each) => each.trace_id === chosen.block.trace_id);
  const request =
    block &&
    chosen.request &&
    block.members.find((each) => each.trace_id === chosen.request.trace_id);
  useEffect(() => {
    if (width) draw(canvas.current, model, view, shape, colour, { block, request, cursor });
  });
  const zoom = (factor, at = (view.from + view.to) / 2) => onLook(zoomed(view, factor, at));
  const shift = (share) => {
    const by = (view.to - view.from) * share;
    onLook({ from: view.from + by, to: view.to + by });
  };
  const choose = (next) => {
    setChosen({ ...next, kept: true });
    if (next.block && (next.block.to < view.from || next.block.from > view.to)) {
      const half = (view.to - view.from) / 2;
      const middle = (next.block.from + next.block.to) / 2;
      onLook({ from: middle - half, to: middle + half });
    }
  };
  const step = (by) => {
    const ran = model.blocks.filter((each) => each.members.length || each.run);
    const at = block ? ran.indexOf(block) : ran.findIndex((each) => each.to >= view.from) - by;
    const next = ran[Math.max(0, Math.min(ran.length - 1, at + by))];
    if (next) choose({ block: next, request: null });
  };
  const climb = (by) => {
    if (!block) return false;
    const at = request
      ? block.members.indexOf(request) + by
      : by > 0
        ? 0
        : block.members.length - 1;
    return choose({ block, request: block.members[at] ?? null });
  };
  const mine = (act) => (event) =>
    event.target.closest("a, button, [role=tree]") ? false : act(event);
  useKeys({
    ArrowLeft: mine((event) => (event.shiftKey ? shift(-0.25) : step(-1))),
    ArrowRight: mine((event) => (event.shiftKey ? shift(0.25) : step(1))),
    ArrowDown: mine(() => climb(1)),
    ArrowUp: mine(() => climb(-1)),
    "+": () => zoom(0.5),
    "=": () => zoom(0.5),
    "-": () => zoom(2),
    0: () => onLook({ from: model.from, to: model.to }),
    Enter: mine(() => (block ? go({ trace: (request ?? block).trace_id }) : false)),
    b: () => (block?.at >= 0 ? go({ trace: block.trace_id, from: request?.trace_id }) : false),
    Escape: () => setChosen({ block: null, request: null, kept: false }),
  });
  const pointer = usePointer({
    canvas,
    model,
    view,
    shape,
    onLook,
    setCursor,
    setChosen,
    kept: chosen.kept,
  });
  return html`
    <div class="above tools" role="toolbar" aria-label="Timeline">
      <button type="button" onClick=${() => shift(-0.5)} aria-label="Earlier">◀</button>
      <button type="button" id="zoom-in" onClick=${() => zoom(0.5)} aria-label="Zoom in">+</button>
      <button type="button" id="zoom-out" onClick=${() => zoom(2)} aria-label="Zoom out">−</button>
      <button type="button" onClick=${() => shift(0.5)} aria-label="Later">▶</button>
      <button type="button" onClick=${() => onLook({ from: model.from, to: model.to })}>All loaded</button>
      <span id="window" class="strong">${clock(view.from)} – ${clock(view.to)}</span>
      <span class="muted">${duration(view.to - view.from)}${live ? ", live" : ""}</span>
      ${leftOut > 0 && html`<span class="muted">${count(leftOut)} older requests of this time are not loaded</span>`}
      <span class="grow"></span>
      <${Link} to=${{ view: "breakdown", endpoint, since: view.from.toFixed(3), until: view.to.toFixed(3) }}>breakdown of this stretch<//>
    </div>
    <${Summary} of=${summaryOf(model, view.from, view.to)} />
    <div
      ref=${box}
      id="timeline"
      class="canvas"
      role="group"
      tabindex="0"
      aria-label="Batches over time; the arrow keys select a batch and its requests"
    >
      <canvas ref=${canvas} role="img" aria-label=${`${plural(shape.seen.length, "batch", "batches")} from ${clock(view.from)} to ${clock(view.to)}`} ...${pointer}></canvas>
    </div>
    <${Chosen} block=${block} request=${request} />
    <${Legend} />
    <${BatchTable} blocks=${shape.seen} chosen=${block} onChoose=${(next) => choose({ block: next, request: null })} />
  `;
}
