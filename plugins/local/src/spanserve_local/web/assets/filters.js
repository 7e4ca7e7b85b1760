// The filters of the list: each is a part of the address.

import { html, useEffect, useRef } from "./vendor/preact.js";
import { go } from "./route.js";
import { REASONS } from "./ui.js";

const EMPTY = {
  status: "",
  min: "",
  max: "",
  batch_min: "",
  batch_max: "",
  reason: "",
  text: "",
  kind: "request",
};
const TYPING_MS = 350;

export const clearFilters = () => go(EMPTY);

export const hasFilters = (here) => Object.keys(EMPTY).some((name) => here[name] !== EMPTY[name]);

export function Filters({ here }) {
  const pick = (name) => (event) => go({ [name]: event.target.value });
  return html`<form class="filters" role="search" aria-label="Filters" onSubmit=${(event) => event.preventDefault()}>
    <label
      >Show
      <select id="kind" value=${here.kind} onChange=${pick("kind")}>
        <option value="request">requests</option>
        <option value="batch">batches</option>
        <option value="other">others</option>
        <option value="all">all</option>
      </select></label
    >
    <label
      >Status
      <select id="status" value=${here.status} onChange=${pick("status")}>
        <option value="">any</option>
        <option value="error">errors</option>
        <option value="4xx">4xx</option>
        <option value="5xx">5xx</option>
        <option value="200">200</option>
        <option value="429">429</option>
        <option value="499">499</option>
        <option value="503">503</option>
      </select></label
    >
    <${Between} title="ms" names=${["min", "max"]} what="Duration in ms" here=${here} />
    <${Between} title="Batch" names=${["batch_min", "batch_max"]} what="Batch size" here=${here} />
    <label
      >Released
      <select id="reason" value=${here.reason} onChange=${pick("reason")}>
        <option value="">any</option>
        ${Object.keys(REASONS).map((reason) => html`<option value=${reason}>${reason}</option>`)}
      </select></label
    >
    <label class="wide"
      >Text
      <${Typed} name="text" here=${here} type="search" placeholder="in names and values  ( / )" /></label
    >
    <button type="button" class="plain" onClick=${clearFilters} disabled=${!hasFilters(here)}>Clear</button>
  </form>`;
}

function Between({ title, names, what, here }) {
  return html`<span class="between" role="group" aria-label=${what}>
    <span aria-hidden="true">${title}</span>
    ${names.map(
      (name, at) => html`${at === 1 && html`<span aria-hidden="true">–</span>`}
        <${Typed}
          name=${name}
          here=${here}
          type="number"
          min="0"
          step="any"
          placeholder=${at ? "max" : "min"}
          aria-label=${`${what}, ${at ? "at most" : "at least"}`}
        />`,
    )}
  </span>`;
}

/** An input that acts when one stops typing. */
function Typed({ name, here, ...rest }) {
  const input = useRef(null);
  const timer = useRef(0);
  const known = useRef(here[name]);
  const act = () => {
    clearTimeout(timer.current);
    const value = input.current.value.trim();
    if (value === known.current) return;
    known.current = value;
    go({ [name]: value });
  };
  useEffect(() => {
    if (here[name] === known.current) return;
    known.current = here[name];
    input.current.value = here[name];
  }, [here[name]]);
  useEffect(() => {
    input.current.value = here[name];
    return () => clearTimeout(timer.current);
  }, []);
  const later = () => {
    clearTimeout(timer.current);
    timer.current = setTimeout(act, TYPING_MS);
  };
  return html`<input ref=${input} id=${name} ...${rest} onInput=${later} onChange=${act} />`;
}
