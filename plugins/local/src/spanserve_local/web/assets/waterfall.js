// Bars over time. Each row is a button: a click or the focus selects its span.

import { html } from "./vendor/preact.js";
import { duration, short, ticks } from "./format.js";
import { Link } from "./route.js";
import { endOf, PART, waitsOf } from "./spans.js";

const TICKS = 6;
const SMALLEST_PERCENT = 0.15;

const share = (axis, ms) => (100 * ms) / Math.max(1e-6, axis.to - axis.from);
const offset = (axis, at) => share(axis, at - axis.from);

function placed(axis, start, length) {
  const left = Math.max(0, Math.min(100, offset(axis, start)));
  const width = Math.max(SMALLEST_PERCENT, Math.min(100 - left, share(axis, length)));
  return { left: `${Math.min(left, 100 - SMALLEST_PERCENT)}%`, width: `${width}%` };
}

export function Ruler({ axis }) {
  const { all } = ticks(0, axis.to - axis.from, TICKS);
  return html`<div class="ruler" aria-hidden="true">
    <span class="col-name"></span><span class="col-time"></span>
    <span class="col-bar">
      ${all.map((at) => html`<i style=${{ left: `${share(axis, at)}%` }}>${at === 0 ? "0" : tickLabel(axis, at)}</i>`)}
    </span>
  </div>`;
}

/** Without zeros at the end; nothing where it would not fit. */
const tickLabel = (axis, at) =>
  share(axis, at) > 88
    ? ""
    : duration(at)
        .replace(/(\.\d*?)0+ /, "$1 ")
        .replace(". ", " ");

export function Waterfall({ rows, axis, selected, onSelect, folded, onFold, label }) {
  return html`<div class="waterfall" role="tree" aria-label=${label}>
    ${rows.map(
      (row) => html`<${Row}
        row=${row}
        axis=${axis}
        selected=${selected === row.span.span_id}
        folded=${folded.has(row.span.span_id)}
        onSelect=${onSelect}
        onFold=${onFold}
      />`,
    )}
  </div>`;
}

function Row({ row, axis, selected, folded, onSelect, onFold }) {
  const { span, depth, children } = row;
  const click = (event) => {
    if (event.target.closest(".fold")) onFold(span, !folded);
    onSelect(span);
  };
  return html`<div
    id=${`span-${span.span_id}`}
    class=${`span${selected ? " selected" : ""}${span.error ? " error" : ""}`}
    role="treeitem"
    aria-level=${depth + 1}
    aria-selected=${selected}
    aria-expanded=${children ? !folded : undefined}
    tabindex=${selected ? 0 : -1}
    onClick=${click}
  >
    <span class=${`col-name depth-${Math.min(depth, 12)}`}>
      <span class="fold" aria-hidden="true">${children ? (folded ? "▸" : "▾") : ""}</span>
      ${span.error && html`<span class="mark">✕ <span class="offscreen">failed: </span></span>`}
      <span class="label">${span.name}</span>${span.late && html`<em class="tag">late</em>`}
    </span>
    <span class="col-time">${duration(span.duration_ms)}</span>
    <span class="col-bar"><${Bar} row=${row} axis=${axis} /></span>
  </div>`;
}

function Bar({ row, axis }) {
  const { span, children, gaps } = row;
  const part = PART[span.name] ?? (row.depth === 0 ? "root" : "custom");
  const kind = span.name === "run" && children ? "run" : part;
  const place = placed(axis, span.start_ms, span.duration_ms);
  return html`
    <i class=${`bar c-${kind}${span.error ? " failed" : ""}`} style=${place}></i>
    ${part === "queue" && html`<${Waits} span=${span} axis=${axis} />`}
    ${
      row.ours &&
      gaps.map(
        (gap) =>
          html`<i class="bar c-gap" style=${placed(axis, gap.start, gap.end - gap.start)} title=${gapText(gap)}></i>`,
      )
    }
    ${span.events.map((event) => html`<i class="event" style=${{ left: `${Math.max(0, Math.min(100, offset(axis, event.at_ms)))}%` }} title=${event.name}></i>`)}
  `;
}

function Waits({ span, axis }) {
  let at = span.start_ms;
  const end = endOf(span);
  return waitsOf(span).map(([name, ms]) => {
    if (!(ms > 0)) return null;
    const length = Math.min(ms, Math.max(0, end - at));
    const place = placed(axis, at, length);
    at += length;
    return length > 0 && html`<i class=${`bar c-${name}`} style=${place}></i>`;
  });
}

export function gapText(gap) {
  const where =
    gap.after === "run" && gap.before === "run"
      ? "while others of its batch ran again"
      : gap.after && gap.before
        ? `between ${gap.after} and ${gap.before}`
        : gap.before
          ? `before ${gap.before}`
          : `after ${gap.after}`;
  return `${duration(gap.end - gap.start)} in no span, ${where}`;
}

/** The members of a batch, each with its wait, on the batch's axis. */
export function Members({ members, axis, from, batch }) {
  return html`<section class="members">
    <h2>${members.length === 1 ? "Its request" : `Its ${members.length} requests`} <span class="muted">and how long each waited</span></h2>
    <ol>
      ${members.map(
        (each) => html`<li class=${`span${each.trace_id === from ? " selected" : ""}`}>
          <span class="col-name">
            <span class="position">${each.position}</span>
            <${Link} to=${{ trace: each.trace_id }}>${short(each.trace_id)}<//>
            ${each.trace_id === from && html`<em class="tag">from here</em>`}
          </span>
          <span class="col-time">${duration(each.wait_ms)}</span>
          <span class="col-bar"><i class="bar c-wait" style=${placed(axis, each.until - each.wait_ms, each.wait_ms)}></i></span>
        </li>`,
      )}
    </ol>
  </section>`;
}
