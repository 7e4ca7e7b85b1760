// The list of traces: filters, a scatter of durations, and a table with pages.

import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { getJson, useData } from "./api.js";
import { clearFilters, Filters, hasFilters } from "./filters.js";
import { ago, count, duration, iso, short, when } from "./format.js";
import { filtersOf, go, isFixed, Link } from "./route.js";
import { Scatter } from "./scatter.js";
import { Failure, Loading, Notice, REASONS, useKeys } from "./ui.js";

const PAGE = 50;
const LIVE_MS = 2000;
const POINTS = 4000;

export function Traces({ here, status, endpoints }) {
  const [cursors, setCursors] = useState([]);
  const [held, setHeld] = useState(false);
  const filters = JSON.stringify({ ...filtersOf(here), since_ms: here.since, range: here.range });
  const order = `${here.sort} ${here.order}`;
  useEffect(() => setCursors([]), [filters, order]);
  useEffect(() => {
    document.title = `Traces · ${status?.service ?? "spanserve"}`;
  }, [status?.service]);
  const live = here.live && !isFixed(here) && cursors.length === 0;
  const cursor = cursors.at(-1);
  const asked = { sort: here.sort, order: here.order, limit: PAGE, cursor };
  const heldNow = useRef(held);
  heldNow.current = held;
  const list = useData(
    (signal) =>
      heldNow.current && live && list.data && list.key === key
        ? undefined
        : getJson("traces", { ...filtersOf(here), ...asked }, signal),
    `${filters} ${order} ${cursor ?? ""}`,
    live ? LIVE_MS : 0,
  );
  const key = `${filters} ${order} ${cursor ?? ""}`;
  const points = useData(
    (signal) =>
      heldNow.current && live && points.data && points.key === filters
        ? undefined
        : getJson("points", { ...filtersOf(here), limit: POINTS }, signal),
    filters,
    live ? LIVE_MS : 0,
  );
  return html`
    <h1 tabindex="-1" class="offscreen">Traces</h1>
    <${Filters} here=${here} />
    <${Scatter} here=${here} points=${points} onHold=${setHeld} />
    <${Failure} error=${list.error} what="list" />
    ${!list.data && list.loading && html`<${Loading} what="traces" />`}
    ${
      list.data &&
      html`<${Table}
      here=${here}
      rows=${list.data.traces}
      newest=${list.data.newest_ms}
      unused=${status && endpoints.length === 0}
      held=${held && live}
      onHold=${setHeld}
    />`
    }
    ${
      list.data &&
      (list.data.next || cursors.length > 0) &&
      html`<nav class="pages" aria-label="Pages">
      <button type="button" disabled=${cursors.length === 0} onClick=${() => setCursors(cursors.slice(0, -1))}>
        ← Back
      </button>
      <span>page ${count(cursors.length + 1)}</span>
      <button type="button" disabled=${!list.data.next} onClick=${() => setCursors([...cursors, list.data.next])}>
        Further →
      </button>
    </nav>`
    }
  `;
}

const COLUMNS = [
  ["start", "Time"],
  [null, "Request"],
  [null, "Status"],
  ["duration", "Duration"],
  [null, "Wait"],
  [null, "Run"],
  ["batch_size", "Batch"],
  [null, "Released"],
  [null, "Spans"],
  [null, "Trace"],
];

function Table({ here, rows, newest, unused, held, onHold }) {
  const body = useRef(null);
  const move = (by) => {
    const all = [...body.current.querySelectorAll("a.row")];
    const at = all.indexOf(document.activeElement);
    all[at < 0 ? 0 : Math.max(0, Math.min(all.length - 1, at + by))]?.focus();
  };
  useKeys({
    j: () => move(1),
    k: () => move(-1),
    ArrowDown: () => body.current?.contains(document.activeElement) && move(1),
    ArrowUp: () => body.current?.contains(document.activeElement) && move(-1),
    "/": () => document.getElementById("text").focus(),
    x: clearFilters,
  });
  if (rows.length === 0) {
    return html`<div ref=${body}><${Empty} here=${here} newest=${newest} unused=${unused} /></div>`;
  }
  const longest = Math.max(...rows.map((row) => row.duration_ms));
  return html`<table
    class="traces"
    onMouseEnter=${() => onHold(true)}
    onMouseLeave=${() => onHold(false)}
    onFocusIn=${() => onHold(true)}
    onFocusOut=${() => onHold(false)}
  >
    <caption class="offscreen">Traces${held ? ", held while in use" : ""}</caption>
    <thead>
      <tr>
        ${COLUMNS.map(([sort, title]) => html`<${Heading} sort=${sort} title=${title} here=${here} />`)}
      </tr>
    </thead>
    <tbody ref=${body}>
      ${rows.map((row) => html`<${Row} key=${row.trace_id} row=${row} longest=${longest} />`)}
    </tbody>
  </table>`;
}

function Heading({ sort, title, here }) {
  const numeric = ["Duration", "Wait", "Run", "Batch", "Spans"].includes(title);
  if (!sort) return html`<th scope="col" class=${numeric ? "number" : ""}>${title}</th>`;
  const now = here.sort === sort;
  const next = now && here.order === "desc" ? "asc" : "desc";
  const arrow = now ? (here.order === "desc" ? " ↓" : " ↑") : "";
  return html`<th
    scope="col"
    class=${numeric ? "number" : ""}
    aria-sort=${now ? (here.order === "desc" ? "descending" : "ascending") : undefined}
  >
    <button type="button" class="sort" onClick=${() => go({ sort, order: next })}>${title}${arrow}</button>
  </th>`;
}

function Row({ row, longest }) {
  const open = { trace: row.trace_id };
  const whole = (event) => {
    if (event.target.closest("a, button") || getSelection().toString()) return;
    go(open);
  };
  return html`<tr class=${row.error ? "error" : ""} onClick=${whole}>
    <td class="time" title=${iso(row.start_ms)}>${when(row.start_ms)}</td>
    <td class="name"><${Link} to=${open} class="row">${row.name}<//></td>
    <td>${row.error && html`<span class="mark" title="failed">✕ </span>`}${row.status ?? (row.error ? "failed" : "")}</td>
    <td class="number strong">${duration(row.duration_ms)}<${Split} row=${row} longest=${longest} /></td>
    <td class="number">${row.wait_ms === null ? "" : duration(row.wait_ms)}</td>
    <td class="number">${row.run_ms === null ? "" : duration(row.run_ms)}</td>
    <td class="number">
      ${
        row.batch_trace_id && row.batch_trace_id !== row.trace_id
          ? html`<${Link}
            to=${{ trace: row.batch_trace_id, from: row.trace_id }}
            aria-label=${`batch of ${row.batch_size}`}
            >${row.batch_size}<//
          >`
          : (row.batch_size ?? (row.reason ? 1 : ""))
      }
    </td>
    <td title=${REASONS[row.reason] ?? ""}>${row.reason}</td>
    <td class="number">${row.spans}</td>
    <td class="id">${short(row.trace_id)}</td>
  </tr>`;
}

/** How the duration divides: waited, ran, the rest. */
function Split({ row, longest }) {
  const part = (ms) => `${(100 * (ms ?? 0)) / longest}%`;
  const rest = Math.max(0, row.duration_ms - (row.wait_ms ?? 0) - (row.run_ms ?? 0));
  return html`<span class="split" aria-hidden="true">
    <i class="c-wait" style=${{ width: part(row.wait_ms) }}></i>
    <i class="c-run" style=${{ width: part(row.run_ms) }}></i>
    <i class="c-other" style=${{ width: part(rest) }}></i>
  </span>`;
}

function Empty({ here, newest, unused }) {
  if (unused && !hasFilters(here)) {
    return html`<${Notice}>
      No requests yet. Send the server one; its trace is here within a second.
    <//>`;
  }
  return html`<${Notice}>
    <p>No traces ${hasFilters(here) ? "with these filters" : "in this time"}${newest ? `; the newest of all is from ${ago(newest)}` : ""}.</p>
    <p>
      ${hasFilters(here) && html`<button type="button" onClick=${clearFilters}>Clear the filters</button> `}
      ${
        (isFixed(here) || here.range !== "all") &&
        html`<button type="button" onClick=${() => go({ range: "all", since: "", until: "" })}>Show all that is kept</button>`
      }
    </p>
  <//>`;
}
