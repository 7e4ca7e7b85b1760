// Where the time of an endpoint's requests goes, and what to change.

import { html, useEffect } from "./vendor/preact.js";
import { getJson, useData } from "./api.js";
import { mostUsed } from "./endpoints.js";
import { count, duration, percent, plural } from "./format.js";
import { go, isFixed, Link, scopeOf, timesOf } from "./route.js";
import { Failure, Loading, Notice, REASONS, Swatch } from "./ui.js";

const LIVE_MS = 3000;
const COLOUR = {
  decode: "other",
  "wait for peers": "peers",
  "wait for the runner": "runner",
  "to start": "start",
  run: "run",
  encode: "other",
  other: "rest",
};

export function Breakdown({ here, endpoints, status }) {
  const endpoint = here.endpoint || mostUsed(endpoints);
  const key = JSON.stringify([endpoint, here.range, here.since, here.until]);
  const live = here.live && !isFixed(here);
  const told = useData(
    (signal) => (endpoint ? getJson("breakdown", { endpoint, ...timesOf(here) }, signal) : null),
    key,
    live ? LIVE_MS : 0,
  );
  useEffect(() => {
    document.title = `Breakdown of ${endpoint || "…"} · ${status?.service ?? "spanserve"}`;
  }, [endpoint, status?.service]);
  return html`
    <h1 tabindex="-1">Where the time of ${endpoint || "requests"} goes</h1>
    <${Failure} error=${told.error} what="breakdown" />
    ${told.loading && !told.data && html`<${Loading} what="breakdown" />`}
    ${
      told.data &&
      (told.data.requests
        ? html`<${Told} told=${told.data} here=${here} endpoint=${endpoint} />`
        : html`<${Notice}>
          <p>No requests in this time.</p>
          <p><button type="button" onClick=${() => go({ range: "all", since: "", until: "" })}>Take all that is kept</button></p>
        <//>`)
    }
    ${!told.data && !told.loading && !told.error && html`<${Notice}>No requests yet.<//>`}
  `;
}

function Told({ told, here, endpoint }) {
  const scope = { ...scopeOf(here), endpoint };
  return html`
    <section class="advice" aria-label="Advice">
      <p>${told.advice.text}</p>
      <dl>
        ${Object.entries(told.advice.figures ?? {})
          .filter(([name]) => !told.parts.some((part) => name.startsWith(part.name)))
          .map(
            ([name, value]) =>
              html`<div><dt>${name.replaceAll("_", " ").replace(/ ms$/, "")}</dt><dd>${figure(name, value)}</dd></div>`,
          )}
      </dl>
    </section>
    <p class="above">
      <span>${plural(told.requests, "request")}</span>
      <span class=${told.errors ? "failed" : ""}>${plural(told.errors, "error")}</span>
      <${Link} to=${{ ...scope, sort: "duration" }}>the slowest<//>
      ${told.errors > 0 && html`<${Link} to=${{ ...scope, status: "error" }}>the errors<//>`}
      <${Link} to=${{ ...scope, view: "batches" }}>their batches over time<//>
    </p>
    <${Parts} told=${told} />
    <div class="pair">
      <${Bars}
        title="Batch sizes"
        head=${["size", "batches"]}
        rows=${told.batch_sizes.map(([size, batches]) => ({
          name: String(size),
          number: batches,
          to: { ...scope, kind: "batch", batch_min: String(size), batch_max: String(size) },
        }))}
      />
      <${Bars}
        title="Why batches were released"
        head=${["reason", "batches"]}
        rows=${Object.entries(told.reasons).map(([reason, batches]) => ({
          name: reason,
          what: REASONS[reason],
          number: batches,
          to: { ...scope, kind: "batch", reason },
        }))}
      />
    </div>
  `;
}

function figure(name, value) {
  if (typeof value !== "number") return String(value);
  if (/share|full_batches/.test(name)) return percent(value);
  if (/[_ ]ms$/.test(name)) return duration(value);
  return Number.isInteger(value) ? count(value) : value.toPrecision(3);
}

function Parts({ told }) {
  const most = Math.max(...told.parts.map((part) => part.share), 1e-9);
  return html`
    <div class="whole" role="img" aria-label="Shares of the time, in the order of the table">
      ${told.parts.map(
        (part) => html`<i
          class=${`c-${COLOUR[part.name] ?? "rest"}`}
          style=${{ width: `${part.share * 100}%` }}
          title=${`${part.name}: ${percent(part.share)}`}
        ></i>`,
      )}
    </div>
    <table class="parts">
      <caption class="offscreen">Parts of a request's time</caption>
      <thead>
        <tr>
          <th scope="col">Part</th>
          <th scope="col" colspan="2">Share of all time</th>
          <th scope="col" class="number">p50</th>
          <th scope="col" class="number">p90</th>
          <th scope="col" class="number">p99</th>
          <th scope="col" class="number">Mean</th>
        </tr>
      </thead>
      <tbody>
        ${told.parts.map(
          (part) => html`<tr class=${part.share === most ? "most" : ""}>
            <th scope="row"><${Swatch} of=${COLOUR[part.name] ?? "rest"} />${part.name}</th>
            <td class="number">${percent(part.share)}</td>
            <td class="bar">
              <i class=${`c-${COLOUR[part.name] ?? "rest"}`} style=${{ width: `${(100 * part.share) / most}%` }}></i>
            </td>
            ${[part.p50, part.p90, part.p99, part.mean].map((ms) => html`<td class="number">${duration(ms)}</td>`)}
          </tr>`,
        )}
      </tbody>
      <tfoot>
        <tr>
          <th scope="row">in all</th>
          <td></td>
          <td></td>
          ${[told.total.p50, told.total.p90, told.total.p99, told.total.mean].map(
            (ms) => html`<td class="number">${ms === undefined ? "" : duration(ms)}</td>`,
          )}
        </tr>
      </tfoot>
    </table>
  `;
}

function Bars({ title, head, rows }) {
  const most = Math.max(...rows.map((row) => row.number), 1);
  const all = rows.reduce((sum, row) => sum + row.number, 0) || 1;
  return html`<section>
    <h2>${title}</h2>
    ${
      rows.length === 0
        ? html`<p class="muted">No batches.</p>`
        : html`<table class="bars">
          <thead class="offscreen">
            <tr>
              ${[...head, "share", "bar"].map((each) => html`<th scope="col">${each}</th>`)}
            </tr>
          </thead>
          <tbody>
            ${rows.map(
              (row) => html`<tr>
                <th scope="row"><${Link} to=${row.to}>${row.name}<//></th>
                <td class="number">${count(row.number)}</td>
                <td class="number muted">${percent(row.number / all)}</td>
                <td class="bar">
                  <i class="c-run" style=${{ width: `${(100 * row.number) / most}%` }}></i>
                  ${row.what && html`<span class="muted">${row.what}</span>`}
                </td>
              </tr>`,
            )}
          </tbody>
        </table>`
    }
  </section>`;
}
