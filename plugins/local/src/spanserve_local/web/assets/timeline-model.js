// Requests against batches: which rows they take, and what was in flight when. Pure.

const GAP_ROWS = 1;

/**
 * Give each batch and its members a block of rows that it shares with nobody meanwhile.
 *
 * A block has its members in the order in which they queued, so that its left edge is the
 * order of arrival, and its run is one box over all of them.
 */
export function layout({ batches, requests }) {
  const blocks = batches.trace_id.map((trace_id, at) => ({
    at,
    trace_id,
    members: [],
    size: batches.size[at],
    reason: batches.reason[at],
    error: batches.error[at],
    released: batches.released_ms[at],
    started: batches.started_ms[at],
    run: batches.run_ms[at],
    ran: batches.ran_ms[at],
    ended: batches.ended_ms[at],
    busyUntil: batches.error[at] ? batches.ended_ms[at] : batches.ran_ms[at],
  }));
  const loose = [];
  for (let at = 0; at < requests.trace_id.length; at += 1) {
    const request = requestAt(requests, at);
    const block = blocks[request.batch];
    if (block) block.members.push(request);
    else loose.push(alone(request));
  }
  const all = [...blocks, ...loose].map(bounded).sort((a, b) => a.from - b.from);
  const rows = placeRows(all);
  const lanes = placeLanes(all.filter((block) => block.run));
  return { blocks: all, rows, lanes, ...extent(all) };
}

/** A request whose batch is not here: it was alone in one, or its batch is not loaded. */
function alone(request) {
  const { trace_id, size, reason, error, run, ran } = request;
  const block = {
    at: -1,
    trace_id,
    members: [request],
    size: size || 1,
    reason: reason ?? null,
    error,
  };
  if (!run) return block;
  const until = ran ?? request.ended;
  return {
    ...block,
    released: run - request.toStart,
    started: run,
    run,
    ran: until,
    ended: request.ended,
    busyUntil: until,
  };
}

function requestAt(requests, at) {
  return {
    trace_id: requests.trace_id[at],
    batch: requests.batch[at],
    start: requests.start_ms[at],
    queued: requests.queued_ms[at],
    run: requests.run_ms[at],
    ran: requests.ran_ms?.[at],
    size: requests.size?.[at],
    reason: requests.reason?.[at],
    ended: requests.ended_ms[at],
    peers: requests.wait_peers_ms[at] ?? 0,
    runner: requests.wait_runner_ms[at] ?? 0,
    toStart: requests.wait_start_ms[at] ?? 0,
    error: requests.error[at],
  };
}

function bounded(block) {
  block.members.sort((a, b) => (a.queued ?? a.start) - (b.queued ?? b.start));
  block.from = Math.min(block.released ?? Infinity, ...block.members.map((each) => each.start));
  block.to = Math.max(block.ended ?? -Infinity, ...block.members.map((each) => each.ended));
  return block;
}

/** The first rows that are free, from the top; returns how many rows are used at most. */
function placeRows(blocks) {
  let active = [];
  let most = 0;
  for (const block of blocks) {
    active = active.filter((each) => each.to > block.from);
    const height = Math.max(1, block.members.length) + GAP_ROWS;
    let row = 0;
    for (const each of active.sort((a, b) => a.row - b.row)) {
      if (each.row - row >= height) break;
      row = Math.max(row, each.row + each.height);
    }
    block.row = row;
    block.height = height;
    active.push(block);
    most = Math.max(most, row + height);
  }
  return most;
}

/** One lane for each run at a time: as many as there are replicas at work. */
function placeLanes(blocks) {
  const until = [];
  for (const block of [...blocks].sort((a, b) => a.run - b.run)) {
    let lane = until.findIndex((end) => end <= block.run);
    if (lane < 0) lane = until.length;
    until[lane] = block.busyUntil;
    block.lane = lane;
  }
  return until.length;
}

const extent = (blocks) => ({
  from: Math.min(...blocks.map((block) => block.from)),
  to: Math.max(...blocks.map((block) => block.to)),
});

/** The parts of a request's time, one after the other: `[part, from, to]`. */
export function partsOf(request) {
  if (request.queued === null || request.queued === undefined) {
    return [["other", request.start, request.ended]];
  }
  const parts = [["other", request.start, request.queued]];
  let at = request.queued;
  for (const [name, length] of [
    ["runner", request.runner],
    ["peers", request.peers],
    ["start", request.toStart],
  ]) {
    if (length > 0) parts.push([name, at, (at += length)]);
  }
  if (request.run === null || request.run === undefined) parts.push(["other", at, request.ended]);
  return parts;
}

export const STATES = ["runner", "peers", "start", "run", "other"];

/** How many requests were in each state, on average, in each of so many equal bins. */
export function inFlight(model, bins) {
  const counts = Object.fromEntries(STATES.map((state) => [state, new Float64Array(bins)]));
  const width = (model.to - model.from) / bins || 1;
  const add = (state, from, to) => {
    const last = Math.min(bins - 1, Math.floor((to - model.from) / width));
    for (let bin = Math.max(0, Math.floor((from - model.from) / width)); bin <= last; bin += 1) {
      const left = model.from + bin * width;
      counts[state][bin] += Math.max(0, Math.min(to, left + width) - Math.max(from, left)) / width;
    }
  };
  for (const block of model.blocks) {
    for (const request of block.members) {
      for (const [state, from, to] of partsOf(request)) add(state, from, to);
      if (request.run) {
        const ran = block.busyUntil ?? request.ended;
        add("run", request.run, ran);
        add("other", ran, request.ended);
      }
    }
  }
  let most = 0;
  for (let bin = 0; bin < bins; bin += 1) {
    most = Math.max(
      most,
      STATES.reduce((sum, state) => sum + counts[state][bin], 0),
    );
  }
  return { counts, most, bins };
}

/** The blocks that a stretch of time touches. */
export const within = (model, from, to) =>
  model.blocks.filter((block) => block.from <= to && block.to >= from);

/** A stretch that shows some of the last batches well. */
export function lastOf(model, batches = 12) {
  const ran = model.blocks.filter((block) => block.run);
  const first = ran[Math.max(0, ran.length - batches)];
  const from = first ? first.from : model.from;
  const margin = (model.to - from) * 0.02 || 1;
  return { from: from - margin, to: model.to + margin };
}

/** What a stretch of time comes to, in a line. */
export function summaryOf(model, from, to) {
  const seen = within(model, from, to);
  const ran = seen.filter((block) => block.run);
  const lanes = Math.max(1, ...ran.map((block) => block.lane + 1));
  const busy = ran.reduce(
    (sum, block) => sum + Math.max(0, Math.min(to, block.busyUntil) - Math.max(from, block.run)),
    0,
  );
  const members = seen.flatMap((block) => block.members);
  const mean = (of) =>
    members.length ? members.reduce((sum, each) => sum + of(each), 0) / members.length : 0;
  return {
    batches: ran.length,
    requests: members.length,
    size: ran.length ? ran.reduce((sum, block) => sum + block.size, 0) / ran.length : 0,
    busy: busy / (to - from) / lanes,
    lanes,
    runner: mean((each) => each.runner),
    peers: mean((each) => each.peers),
    start: mean((each) => each.toStart),
  };
}
