// What the timeline says in words: its sum, what is selected, and its colours.

import { html } from "./vendor/preact.js";
import { clock, duration, percent, plural, short } from "./format.js";
import { Link } from "./route.js";
import { REASONS, Swatch } from "./ui.js";

export function Summary({ of }) {
  return html`<p class="above summary">
    <span>${plural(of.requests, "request")} in ${plural(of.batches, "batch", "batches")} of ${of.size.toFixed(1)}</span>
    <span><${Swatch} of="run" />model busy <b>${percent(of.busy)}</b>${of.lanes > 1 ? ` of ${of.lanes} at a time` : ""}</span>
    <span class="muted">mean waits:</span>
    <span><${Swatch} of="runner" /><b>${duration(of.runner)}</b> for the runner</span>
    <span><${Swatch} of="peers" /><b>${duration(of.peers)}</b> for peers</span>
    <span><${Swatch} of="start" /><b>${duration(of.start)}</b> to start</span>
  </p>`;
}

/** What is selected or pointed at, in words and links. */
export function Chosen({ block, request }) {
  if (!block) {
    return html`<p class="chosen muted" role="status">
      Point at a batch or a request, click to keep it, double-click to open it. Drag the overview or the ruler to zoom, the
      picture to move; Ctrl and the wheel zoom.
    </p>`;
  }
  const shown = request ?? (block.at < 0 ? block.members[0] : null);
  return html`<div class="chosen" role="status">
    ${
      block.run &&
      html`<p>
      ${
        block.at >= 0
          ? html`<${Link} id="open-batch" to=${{ trace: block.trace_id, from: shown?.trace_id }}>batch of ${block.size}<//>`
          : block.size > 1
            ? `of a batch of ${block.size} that is not loaded,`
            : "alone in its batch,"
      }
      ${block.error ? html` <span class="failed">✕ failed</span>` : ""} released at ${clock(block.released, 6)},
      <b> ${block.reason}</b>${REASONS[block.reason] ? `: ${REASONS[block.reason]}` : ""}; started${" "}
      ${duration(block.run - block.released)} later, ran <b>${duration(block.ran - block.run)}</b>${
        block.busyUntil > block.ran
          ? `, then ${duration(block.busyUntil - block.ran)} again in smaller groups`
          : ""
      }
    </p>`
    }
    ${
      shown
        ? html`<p>
          <${Link} id="open-request" to=${{ trace: shown.trace_id }}>request ${short(shown.trace_id)}<//>
          ${shown.error ? html` <span class="failed">✕ failed</span>` : ""} took <b>${duration(shown.ended - shown.start)}</b>; waited${" "}
          <${Swatch} of="runner" />${duration(shown.runner)} for the runner, <${Swatch} of="peers" />${duration(shown.peers)} for peers,${" "}
          <${Swatch} of="start" />${duration(shown.toStart)} to start
        </p>`
        : html`<p class="muted">${plural(block.members.length, "request")} of it here; ↓ goes through them, Enter opens</p>`
    }
  </div>`;
}

export function Legend() {
  return html`<ul class="legend" aria-label="Colours">
    <li><${Swatch} of="runner" />waits for the runner</li>
    <li><${Swatch} of="peers" />waits for peers</li>
    <li><${Swatch} of="start" />to start</li>
    <li><${Swatch} of="run" />run of the batch: size, reason, time</li>
    <li><${Swatch} of="other" />decode, answer</li>
    <li><span class="released" aria-hidden="true"></span>released</li>
    <li><span class="swatch retries" aria-hidden="true"></span>run again in smaller groups</li>
    <li><span class="mark" aria-hidden="true">✕</span> failed</li>
  </ul>`;
}
