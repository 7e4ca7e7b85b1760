// What the spans of a trace say, computed once for the views: pure.

export const PART = {
  decode: "other",
  encode: "other",
  collate: "other",
  split: "other",
  queue: "queue",
  run: "run",
  retry: "rest",
};
const SMALLEST_GAP = 0.004;

export const endOf = (span) => span.start_ms + span.duration_ms;

export function rootOf(spans) {
  const known = new Set(spans.map((span) => span.span_id));
  return spans.find((span) => !known.has(span.parent_id)) ?? spans[0];
}

export const isBatch = (root) => root.name.startsWith("batch ");

/** The trace of the batch that a request was in, if it shared one. */
export function batchOf(spans) {
  for (const span of spans) {
    const id = span.attributes["spanserve.batch.trace_id"];
    if (id) {
      return {
        trace_id: String(id),
        span_id: span.attributes["spanserve.batch.span_id"],
        size: span.attributes["spanserve.batch.size"],
        position: span.attributes["spanserve.batch.position"],
        reason: span.attributes["spanserve.release_reason"],
      };
    }
  }
  return null;
}

/**
 * The rows of a waterfall: spans in order with their depth, children and gaps.
 *
 * A gap of our own spans is time that nothing accounts for; one of the user's is their own time.
 */
export function rowsOf(spans) {
  const children = new Map();
  const known = new Set(spans.map((span) => span.span_id));
  for (const span of spans) {
    const parent =
      known.has(span.parent_id) && span.parent_id !== span.span_id ? span.parent_id : null;
    if (!children.has(parent)) children.set(parent, []);
    children.get(parent).push(span);
  }
  const whole = Math.max(...spans.map(endOf)) - Math.min(...spans.map((span) => span.start_ms));
  const rows = [];
  const seen = new Set();
  const add = (span, depth) => {
    if (seen.has(span)) return;
    seen.add(span);
    const own = children.get(span.span_id) ?? [];
    children.delete(span.span_id); // of two spans with one id, the first has the children
    own.sort((a, b) => a.start_ms - b.start_ms);
    const gaps = gapsOf(span, own, whole * SMALLEST_GAP);
    rows.push({
      span,
      depth,
      children: own.length,
      gaps,
      ours: depth === 0 || span.name === "retry",
    });
    for (const child of own) add(child, depth + 1);
  };
  for (const span of [...(children.get(null) ?? []), ...spans]) add(span, 0); // a circle, too, is shown
  return rows;
}

/** Where a span has time that none of its children covers. */
function gapsOf(span, children, smallest) {
  if (children.length === 0) return [];
  const gaps = [];
  let at = span.start_ms;
  let before = null;
  const end = endOf(span);
  for (const child of children) {
    if (child.start_ms - at > smallest)
      gaps.push({
        start: at,
        end: Math.min(child.start_ms, end),
        after: before,
        before: child.name,
      });
    if (endOf(child) > at) {
      at = endOf(child);
      before = child.name;
    }
  }
  if (end - at > smallest) gaps.push({ start: at, end, after: before, before: null });
  return gaps.filter((gap) => gap.end > gap.start);
}

/** The three waits of a queue, in the order in which they pass. */
export function waitsOf(span) {
  const of = (name) => Number(span.attributes[`spanserve.wait.for_${name}_ms`] ?? 0);
  return [
    ["runner", of("runner")],
    ["peers", of("peers")],
    ["start", of("start")],
  ];
}

/** What a batch's links say of its members: when each came, and until when it waited. */
export function membersOf(spans) {
  const root = rootOf(spans);
  const first = Math.min(
    ...spans.filter((span) => span.parent_id === root.span_id).map((span) => span.start_ms),
    Infinity,
  );
  const started = Number.isFinite(first) ? first : root.start_ms;
  return root.links
    .map((link) => ({
      trace_id: link.trace_id,
      span_id: link.span_id,
      position: Number(link.attributes.position ?? 0),
      wait_ms: Number(link.attributes.wait_ms ?? 0),
      until: started,
    }))
    .sort((a, b) => a.position - b.position);
}

/** Drop what stands below folded spans. */
export function unfolded(rows, folded) {
  let hidden = Infinity;
  return rows.filter((row) => {
    if (row.depth > hidden) return false;
    hidden = folded.has(row.span.span_id) ? row.depth : Infinity;
    return true;
  });
}
