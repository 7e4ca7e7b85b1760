// What the selected span says: errors, waits, gaps, attributes, events, links.

import { html } from "./vendor/preact.js";
import { getText } from "./api.js";
import { clock, duration, percent, plural, short } from "./format.js";
import { Link } from "./route.js";
import { waitsOf } from "./spans.js";
import { Copy, REASONS, Swatch, WAITS } from "./ui.js";
import { gapText } from "./waterfall.js";

const LINKS_SHOWN = 200;

export function Details({ row, trace, start }) {
  const { span, gaps } = row;
  const id = encodeURIComponent(trace.trace_id);
  const own = gaps.reduce((sum, gap) => sum + gap.end - gap.start, 0);
  return html`<aside class="details" aria-label=${`About ${span.name}`}>
    <h2>${span.name}</h2>
    <${Pairs}
      rows=${[
        ["duration", duration(span.duration_ms)],
        ["starts", `${clock(span.start_ms, 6)} (+${duration(span.start_ms - start)})`],
        ["kind", span.kind],
        ["span id", span.span_id],
        ["trace id", trace.trace_id],
        ...(span.late ? [["late", "it ended after its trace had been handed over"]] : []),
      ]}
    />
    ${span.error && html`<p class="failed"><b>${span.error.type}</b>${span.error.message ? `: ${span.error.message}` : ""}</p>`}
    ${span.name === "queue" && html`<${Waits} span=${span} />`}
    ${
      own > 0 &&
      html`<h3>${row.ours ? "In no span" : "In none of its spans"}: ${duration(own)}, ${percent(own / span.duration_ms)}</h3>
      <ul>
        ${gaps.map((gap) => html`<li>${gapText(gap).replace(" in no span,", "")}</li>`)}
      </ul>`
    }
    <${Attributes} attributes=${span.attributes} title="Attributes" />
    ${
      span.events.length > 0 &&
      html`<h3>Events</h3>
      ${span.events.map(
        (event) => html`<div class="what">
          <b>${event.name}</b> <span class="muted">+${duration(event.at_ms - span.start_ms)}</span>
          <${Attributes} attributes=${event.attributes} />
        </div>`,
      )}`
    }
    ${span.links.length > 0 && html`<${Links} links=${span.links} from=${trace.trace_id} />`}
    <${Attributes} attributes=${trace.resource} title="Process" />
    <p><${Copy} text=${() => getText(`traces/${id}/text`, { span: span.span_id })}>Copy this span and below as text<//></p>
  </aside>`;
}

function Waits({ span }) {
  const waits = Object.fromEntries(waitsOf(span));
  const reason = span.attributes["spanserve.release_reason"];
  return html`<h3>Why it waited</h3>
    <table class="why">
      <tbody>
        ${WAITS.map(
          ([name, title]) => html`<tr>
            <th scope="row"><${Swatch} of=${name} />${title}</th>
            <td class="number">${duration(waits[name])}</td>
          </tr>`,
        )}
      </tbody>
    </table>
    ${reason && html`<p>Released <b>${reason}</b>${REASONS[reason] && `: ${REASONS[reason]}`}.</p>`}`;
}

function Attributes({ attributes, title }) {
  const rows = Object.entries(attributes ?? {});
  if (rows.length === 0) return null;
  return html`${title && html`<h3>${title}</h3>`}<${Pairs} rows=${rows} />`;
}

function Pairs({ rows }) {
  return html`<dl class="pairs">
    ${rows.map(([name, value]) => html`<div><dt>${broken(name)}</dt><dd><${Value} name=${name} value=${value} /></dd></div>`)}
  </dl>`;
}

/** A name that may break after a dot or an underscore. */
const broken = (name) =>
  String(name)
    .split(/(?<=[._])/)
    .map((part) => html`${part}<wbr />`);

function Value({ name, value }) {
  if (name === "spanserve.batch.trace_id")
    return html`<${Link} to=${{ trace: value }}>${value}<//>`;
  const text = typeof value === "string" ? value : JSON.stringify(value);
  if (text.includes("\n")) return html`<pre tabindex="0">${text}</pre>`;
  return text;
}

const rounded = (value) => (typeof value === "number" ? Number(value.toFixed(3)) : value);

function Links({ links, from }) {
  const shown = links.slice(0, LINKS_SHOWN);
  return html`<h3>${plural(links.length, "link")}</h3>
    <ul class="links">
      ${shown.map(
        (link) => html`<li>
          <${Link} to=${{ trace: link.trace_id, from }}>${short(link.trace_id)}<//>
          <span class="muted"> ${Object.entries(link.attributes ?? {})
            .map(([name, value]) => `${name} ${rounded(value)}`)
            .join(", ")}</span>
        </li>`,
      )}
    </ul>
    ${links.length > shown.length && html`<p class="muted">and ${links.length - shown.length} more</p>`}`;
}
