// The batches in sight as a table: the same as the picture, for reading, sorting by eye, and machines.

import { html } from "./vendor/preact.js";
import { clock, count, duration } from "./format.js";
import { Link } from "./route.js";
import { REASONS, Swatch } from "./ui.js";

const SHOWN = 40;

export function BatchTable({ blocks, chosen, onChoose }) {
  const batches = blocks.filter((block) => block.run).sort((a, b) => a.released - b.released);
  const shown = batches.slice(-SHOWN);
  if (shown.length === 0) return null;
  return html`<table class="batches">
    <caption>
      ${batches.length > shown.length ? `The last ${shown.length} of ${count(batches.length)} batches in sight` : "The batches in sight"}
    </caption>
    <thead>
      <tr>
        <th scope="col">Released</th>
        <th scope="col" class="number">Size</th>
        <th scope="col">Reason</th>
        <th scope="col" class="number"><${Swatch} of="runner" />Runner, longest</th>
        <th scope="col" class="number"><${Swatch} of="peers" />Peers, longest</th>
        <th scope="col" class="number"><${Swatch} of="start" />To start</th>
        <th scope="col" class="number"><${Swatch} of="run" />Run</th>
        <th scope="col" class="number">Run an item</th>
      </tr>
    </thead>
    <tbody>
      ${shown.map(
        (block) => html`<tr
          key=${block.trace_id}
          class=${`${block === chosen ? "selected" : ""}${block.error ? " error" : ""}`}
          onClick=${(event) => event.target.closest("a") || onChoose(block)}
        >
          <td>${block.error ? html`<span class="mark">✕ </span>` : ""}<${Link} to=${{ trace: block.trace_id }}>${clock(block.released)}<//></td>
          <td class="number">${block.size}</td>
          <td title=${REASONS[block.reason] ?? ""}>${block.reason}</td>
          <td class="number">${duration(longest(block, "runner"))}</td>
          <td class="number">${duration(longest(block, "peers"))}</td>
          <td class="number">${duration(block.run - block.released)}</td>
          <td class="number">${duration(block.ran - block.run)}</td>
          <td class="number">${duration((block.ran - block.run) / Math.max(1, block.size))}</td>
        </tr>`,
      )}
    </tbody>
  </table>`;
}

const longest = (block, wait) => Math.max(0, ...block.members.map((request) => request[wait]));
