// The keys, on demand.

import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { setSingleKeys, singleKeys } from "./ui.js";

const KEYS = [
  [
    "everywhere",
    [
      ["1 2 3", "traces, batches, breakdown"],
      ["l", "follow live, or stand still"],
      ["?", "this list"],
    ],
  ],
  [
    "traces",
    [
      ["j k", "next, previous row"],
      ["Enter", "open the trace"],
      ["/", "search text"],
      ["x", "clear the filters"],
    ],
  ],
  [
    "a trace",
    [
      ["↑ ↓", "previous, next span"],
      ["← →", "fold, unfold"],
      ["b", "to the batch, and back"],
      ["c", "copy as text"],
      ["y", "copy the link"],
      ["Esc", "back to where you came from"],
    ],
  ],
  [
    "batches",
    [
      ["← →", "previous, next batch"],
      ["↑ ↓", "requests of the batch"],
      ["Enter", "open what is selected"],
      ["+ −", "zoom"],
      ["Shift ← →", "move in time"],
      ["0", "all that is loaded"],
    ],
  ],
];

export function Help({ onClose }) {
  const dialog = useRef(null);
  const [single, setSingle] = useState(singleKeys());
  useEffect(() => dialog.current.showModal(), []);
  const toggle = () => {
    setSingleKeys(!single);
    setSingle(!single);
  };
  return html`<dialog ref=${dialog} onClose=${onClose} aria-labelledby="keys">
    <h2 id="keys">Keys</h2>
    <div class="keys">
      ${KEYS.map(
        ([where, rows]) => html`<section>
          <h3>${where}</h3>
          <dl>
            ${rows.map(
              ([keys, what]) =>
                html`<dt>${keys.split(" ").map((key) => html`<kbd>${key}</kbd> `)}</dt>
                  <dd>${what}</dd>`,
            )}
          </dl>
        </section>`,
      )}
    </div>
    <p>
      <label><input type="checkbox" checked=${single} onChange=${toggle} /> keys of a single letter act</label>
    </p>
    <button type="button" class="primary" onClick=${() => dialog.current.close()}>Close</button>
  </dialog>`;
}
