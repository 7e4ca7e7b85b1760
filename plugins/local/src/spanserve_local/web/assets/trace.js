// One trace: its waterfall, its batch or its members on the same axis, and what a span says.

import { html, useEffect, useMemo, useState } from "./vendor/preact.js";
import { getJson, getText, urlOf, useData } from "./api.js";
import { Details } from "./details.js";
import { day, clock, duration, iso, plural, short } from "./format.js";
import { go, hrefOf, Link, route } from "./route.js";
import { batchOf, endOf, isBatch, membersOf, rootOf, rowsOf, unfolded } from "./spans.js";
import { Copy, Failure, Loading, Notice, REASONS, useKeys } from "./ui.js";
import { Members, Ruler, Waterfall } from "./waterfall.js";

export function Trace({ here, status }) {
  const id = here.trace;
  const trace = useData((signal) => getJson(`traces/${encodeURIComponent(id)}`, {}, signal), id);
  const batch = trace.data && batchOf(trace.data.spans);
  const shared = useData(
    (signal) =>
      batch ? getJson(`traces/${encodeURIComponent(batch.trace_id)}`, {}, signal) : null,
    batch?.trace_id ?? "",
  );
  useEffect(() => {
    const name = trace.data?.spans.length ? rootOf(trace.data.spans).name : "Trace";
    document.title = `${name} · ${short(id)} · ${status?.service ?? "spanserve"}`;
  }, [trace.data, id, status?.service]);
  if (trace.error?.status === 404) {
    return html`<h1 tabindex="-1">No trace ${short(id)}</h1>
      <${Notice}>
        <p>${trace.error.message}</p>
        <p><${Link} to=${{}}>All traces<//></p>
      <//>`;
  }
  if (!trace.data) {
    return html`<h1 tabindex="-1" class="offscreen">Trace</h1>
      <${Failure} error=${trace.error} what="trace" />
      ${!trace.error && html`<${Loading} what="the trace" />`}`;
  }
  return html`<${Shown} here=${here} trace=${trace.data} batch=${batch} shared=${shared} />`;
}

function Shown({ here, trace, batch, shared }) {
  const [folded, setFolded] = useState(new Set());
  const root = rootOf(trace.spans);
  const ofBatch = isBatch(root);
  const members = useMemo(() => (ofBatch ? membersOf(trace.spans) : []), [trace]);
  const rows = useMemo(() => rowsOf(trace.spans), [trace]);
  const batchRows = useMemo(() => (shared.data ? rowsOf(shared.data.spans) : []), [shared.data]);
  const visible = unfolded(rows, folded);
  const visibleBatch = unfolded(batchRows, folded);
  const all = [
    ...visible.map((row) => ({ ...row, trace_id: trace.trace_id })),
    ...visibleBatch.map((row) => ({ ...row, trace_id: batch.trace_id })),
  ];
  const selected = [...rows, ...batchRows].find((row) => row.span.span_id === here.span) ?? rows[0];
  const ofSelected = rows.includes(selected) ? trace : shared.data;
  const axis = axisOf(trace.spans, shared.data?.spans ?? [], members);
  const select = (span) => go({ span: span.span_id }, { replace: true });
  const fold = (span, on) => {
    const next = new Set(folded);
    if (on) next.add(span.span_id);
    else next.delete(span.span_id);
    setFolded(next);
  };
  const move = (by) => {
    const at = all.findIndex((row) => row.span.span_id === selected.span.span_id);
    const next = all[Math.max(0, Math.min(all.length - 1, at + by))];
    if (next) {
      select(next.span);
      document.getElementById(`span-${next.span.span_id}`)?.focus();
    }
  };
  const back = here.from && ofBatch ? here.from : null;
  const cross = () => {
    if (batch) go({ trace: batch.trace_id, span: "", from: trace.trace_id });
    else if (back) go({ trace: back, span: "", from: "" });
    else return false;
    return true;
  };
  useKeys({
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    j: () => move(1),
    k: () => move(-1),
    ArrowLeft: () => (selected.children ? fold(selected.span, true) : false),
    ArrowRight: () => (selected.children ? fold(selected.span, false) : false),
    b: cross,
    c: () => document.getElementById("copy-text").click(),
    y: () => document.getElementById("copy-link").click(),
    Escape: () => (history.length > 1 ? history.back() : go({ trace: "", span: "", from: "" })),
  });
  const common = { axis, selected: selected.span.span_id, onSelect: select, folded, onFold: fold };
  return html`
    <${Title} trace=${trace} root=${root} here=${here} batch=${batch} back=${back} members=${members} />
    <div class="trace">
      <div class="falls">
        <${Ruler} axis=${axis} />
        <${Waterfall} ...${common} rows=${visible} label=${`Spans of ${root.name}`} />
        ${ofBatch && members.length > 0 && html`<${Members} members=${members} axis=${axis} from=${here.from} batch=${trace.trace_id} />`}
        ${
          batch &&
          html`<h2 class="between-traces">
          <${Link} id="to-batch" to=${{ trace: batch.trace_id, from: trace.trace_id }}>
            The batch of ${batch.size}<//
          >${batch.reason && html`<span class="muted"> released: ${batch.reason}</span>`}
        </h2>`
        }
        ${batch && html`<${Failure} error=${shared.error} what="trace of the batch" />`}
        ${visibleBatch.length > 0 && html`<${Waterfall} ...${common} rows=${visibleBatch} label="Spans of the batch" />`}
        <${Legend} />
      </div>
      <${Details} row=${selected} trace=${ofSelected ?? trace} start=${axis.from} />
    </div>
  `;
}

function axisOf(spans, others, members) {
  const all = [...spans, ...others];
  return {
    from: Math.min(
      ...all.map((span) => span.start_ms),
      ...members.map((each) => each.until - each.wait_ms),
    ),
    to: Math.max(...all.map(endOf), ...members.map((each) => each.until)),
  };
}

function Title({ trace, root, here, batch, back, members }) {
  const failed =
    trace.spans.find((span) => span.error?.message) ?? trace.spans.find((span) => span.error);
  const code = root.attributes["http.response.status_code"];
  const reason = root.attributes["spanserve.release_reason"];
  const id = encodeURIComponent(trace.trace_id);
  const link = () =>
    new URL(hrefOf({ trace: trace.trace_id, span: route().span }), location.href).href;
  return html`<div class="title">
    <h1 tabindex="-1">
      ${root.name}
      ${code !== undefined && html` <span class=${code >= 500 ? "failed" : ""}>${code}</span>`}
    </h1>
    <b class="total">${duration(root.duration_ms)}</b>
    ${failed && html`<span class="failed what-failed"><span aria-hidden="true">✕ </span>${failed.error.type}${failed.error.message ? `: ${failed.error.message}` : ""}</span>`}
    <span class="muted" title=${iso(root.start_ms)}>${day(root.start_ms)} ${clock(root.start_ms)}</span>
    <span class="muted">${plural(trace.spans.length, "span")}</span>
    ${isBatch(root) && html`<span title=${REASONS[reason]}>batch of ${root.attributes["spanserve.batch.size"] ?? members.length}${reason ? `, released: ${reason}` : ""}</span>`}
    ${back && html`<${Link} id="to-request" to=${{ trace: back }}>← back to request ${short(back)}<//>`}
    ${batch && html`<${Link} to=${{ trace: batch.trace_id, from: trace.trace_id }}>batch of ${batch.size} →<//>`}
    ${
      root.attributes["spanserve.endpoint"] &&
      html`<${Link}
      to=${{
        view: "batches",
        endpoint: root.attributes["spanserve.endpoint"],
        since: String(Math.floor(root.start_ms - 4 * root.duration_ms)),
        until: String(Math.ceil(endOf(root) + 4 * root.duration_ms)),
      }}
      >among its neighbours<//
    >`
    }
    <span class="grow"></span>
    <${Copy} id="copy-id" text=${() => trace.trace_id} label="Copy the trace id"><code>${short(trace.trace_id)}</code><//>
    <${Copy} id="copy-link" text=${link}>Copy link<//>
    <${Copy} id="copy-text" text=${() => getText(`traces/${id}/text`)}>Copy as text<//>
    <a href=${urlOf(`traces/${id}/otlp.json`)} download=${`${trace.trace_id}-otlp.json`} title="Download as OTLP JSON">OTLP</a>
    <a href=${urlOf(`traces/${id}/zipkin.json`)} download=${`${trace.trace_id}-zipkin.json`} title="Download as Zipkin JSON">Zipkin</a>
  </div>`;
}

const LEGEND = [
  ["runner", "waits for the runner"],
  ["peers", "waits for peers"],
  ["start", "to start"],
  ["run", "run"],
  ["other", "decode, collate, split, encode"],
  ["custom", "your own"],
  ["gap", "in no span"],
];

export function Legend() {
  return html`<ul class="legend" aria-label="Colours">
    ${LEGEND.map(([name, title]) => html`<li><span class=${`swatch c-${name}`} aria-hidden="true"></span>${title}</li>`)}
  </ul>`;
}
