// Draws the timeline: an overview of what was in flight, the model's runs, and each request.

import { clock, duration, ticks } from "./format.js";
import { inFlight, partsOf, STATES, within } from "./timeline-model.js";

export const OVERVIEW = 56;
const RULER = 20;
const LANE = 18;
const MOST_LANES = 6;
const ROW_MOST = 13;
const ROW_LEAST = 2;
const BODY_LEAST = 130;
const BODY_MOST = 520;
const PAD = 6;
const FONT = "11px system-ui, sans-serif";

/** Where things stand, from top to bottom, for this model and width. */
export function geometry(model, view, width) {
  const seen = within(model, view.from, view.to);
  const lanes = Math.min(MOST_LANES, Math.max(1, ...seen.map((block) => (block.lane ?? 0) + 1)));
  const rows = Math.max(1, ...seen.map((block) => block.row + block.height));
  const row = Math.max(ROW_LEAST, Math.min(ROW_MOST, Math.floor(BODY_MOST / rows)));
  const ruler = OVERVIEW + PAD;
  const lane = ruler + RULER;
  const body = lane + lanes * LANE + PAD;
  const height = body + Math.max(BODY_LEAST, rows * row) + PAD;
  return { width, height, ruler, lane, lanes, body, row, seen };
}

export const scale = (view, width) => (at) => ((at - view.from) / (view.to - view.from)) * width;

export const unscale = (view, width) => (x) => view.from + (x / width) * (view.to - view.from);

export function draw(canvas, model, view, shape, colour, chosen) {
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.round(shape.width * ratio);
  canvas.height = Math.round(shape.height * ratio);
  canvas.style.height = `${shape.height}px`;
  const ctx = canvas.getContext("2d");
  ctx.scale(ratio, ratio);
  ctx.font = FONT;
  ctx.textBaseline = "middle";
  const pen = { ctx, x: scale(view, shape.width), shape, view, colour, chosen };
  drawOverview(pen, model);
  drawRuler(pen);
  for (const block of shape.seen) drawWaits(pen, block);
  for (const block of shape.seen) drawRun(pen, block);
  for (const block of shape.seen) drawLane(pen, block);
  if (chosen.block) drawChosen(pen, chosen);
  if (chosen.cursor !== null) drawCursor(pen, chosen.cursor);
}

function drawOverview({ ctx, shape, view, colour }, model) {
  const bins = Math.max(1, Math.floor(shape.width / 2));
  const flight = cachedFlight(model, bins);
  const width = shape.width / bins;
  const height = OVERVIEW - 2;
  for (let bin = 0; bin < bins; bin += 1) {
    let y = OVERVIEW;
    for (const state of STATES) {
      const tall = (flight.counts[state][bin] / (flight.most || 1)) * height;
      ctx.fillStyle = colour[state];
      ctx.fillRect(bin * width, y - tall, width + 0.5, tall);
      y -= tall;
    }
  }
  const at = scale(model, shape.width);
  const left = Math.max(0, at(view.from));
  const right = Math.min(shape.width, at(view.to));
  ctx.fillStyle = colour.veil;
  ctx.fillRect(0, 0, left, OVERVIEW);
  ctx.fillRect(right, 0, shape.width - right, OVERVIEW);
  ctx.strokeStyle = colour.text;
  ctx.lineWidth = 1;
  ctx.strokeRect(left + 0.5, 0.5, Math.max(2, right - left - 1), OVERVIEW - 1);
  ctx.fillStyle = colour.text;
  const most = `at most ${flight.most < 10 ? flight.most.toFixed(1) : Math.round(flight.most)} in flight`;
  ctx.fillStyle = colour.paper;
  ctx.fillRect(4, 3, ctx.measureText(most).width + 6, 15);
  ctx.fillStyle = colour["text-muted"];
  ctx.fillText(most, 7, 11);
}

let flightOf = { model: null, bins: 0, flight: null };

function cachedFlight(model, bins) {
  if (flightOf.model !== model || flightOf.bins !== bins) {
    flightOf = { model, bins, flight: inFlight(model, bins) };
  }
  return flightOf.flight;
}

function drawRuler({ ctx, x, shape, view, colour }) {
  const origin = Math.floor(view.from / 60_000) * 60_000;
  const { step, all } = ticks(view.from - origin, view.to - origin, Math.max(2, shape.width / 130));
  const decimals = Math.max(0, Math.min(6, 3 - Math.floor(Math.log10(step) + 1e-9)));
  ctx.lineWidth = 1;
  for (const offset of all) {
    const left = Math.round(x(origin + offset)) + 0.5;
    ctx.strokeStyle = colour.line;
    ctx.beginPath();
    ctx.moveTo(left, shape.ruler + RULER - 5);
    ctx.lineTo(left, shape.height);
    ctx.stroke();
    ctx.fillStyle = colour["text-muted"];
    const label = clock(origin + offset + 1e-4, decimals);
    if (left + 3 + ctx.measureText(label).width <= shape.width) {
      ctx.fillText(label, left + 3, shape.ruler + RULER / 2);
    }
  }
  ctx.strokeStyle = colour.line;
  ctx.beginPath();
  ctx.moveTo(0, shape.body - PAD / 2 + 0.5);
  ctx.lineTo(shape.width, shape.body - PAD / 2 + 0.5);
  ctx.stroke();
}

function top(shape, block, index) {
  return shape.body + (block.row + index) * shape.row;
}

function drawWaits({ ctx, x, shape, colour }, block) {
  const thick = shape.row > 4 ? shape.row - 2 : Math.max(1, shape.row - (shape.row > 2 ? 1 : 0));
  block.members.forEach((request, index) => {
    const y = top(shape, block, index);
    for (const [part, from, to] of partsOf(request)) {
      ctx.fillStyle = colour[part];
      const left = x(from);
      ctx.fillRect(left, y, Math.max(0.4, x(to) - left), thick);
    }
    if (request.run) {
      const left = x(block.busyUntil ?? request.run);
      ctx.fillStyle = colour.other;
      ctx.fillRect(left, y, Math.max(0.4, x(request.ended) - left), thick);
    }
    if (request.error) cross(ctx, x(request.ended) + 5, y + thick / 2, colour.error);
  });
}

function drawRun({ ctx, x, shape, colour }, block) {
  if (!block.run) return;
  const y = top(shape, block, 0);
  const tall = Math.max(1, block.members.length) * shape.row - (shape.row > 2 ? 2 : 0);
  const left = x(block.run);
  const width = Math.max(1, x(block.ran) - left);
  ctx.fillStyle = colour.run;
  ctx.fillRect(left, y, width, tall);
  if (block.busyUntil > block.ran) drawRetries(ctx, x, block, y, tall, colour);
  if (block.error) {
    ctx.strokeStyle = colour.error;
    ctx.lineWidth = 2;
    ctx.strokeRect(left + 1, y + 1, Math.max(1, width - 2), tall - 2);
  }
  const released = Math.round(x(block.released)) + 0.5;
  ctx.strokeStyle = colour.text;
  ctx.lineWidth = 1;
  ctx.beginPath();
  ctx.moveTo(released, y - 1);
  ctx.lineTo(released, y + tall + 1);
  ctx.stroke();
  const lines = [`${block.size}`, block.reason ?? "", duration(block.ran - block.run)];
  const from = Math.max(0, left) + 5;
  const room = left + width - from - 3;
  ctx.fillStyle = colour["on-run"];
  if (tall >= 44 && room > 52) {
    const middle = y + tall / 2;
    lines.forEach((line, at) => ctx.fillText(line, from, middle + (at - 1) * 13));
  } else if (tall >= 11) {
    const line = fitting(ctx, [lines.join(" · "), `${lines[0]} · ${lines[1]}`, lines[0]], room);
    if (line) ctx.fillText(line, from, y + tall / 2 + 0.5);
  }
}

/** After a run that raised, its items run again in smaller groups, to find the one at fault. */
function drawRetries(ctx, x, block, y, tall, colour) {
  const left = x(block.ran);
  const width = Math.max(1, x(block.busyUntil) - left);
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, y, width, tall);
  ctx.clip();
  ctx.strokeStyle = colour.run;
  ctx.lineWidth = 1.5;
  ctx.beginPath();
  for (let at = left - tall; at < left + width; at += 6) {
    ctx.moveTo(at, y + tall);
    ctx.lineTo(at + tall, y);
  }
  ctx.stroke();
  ctx.strokeRect(left, y + 0.5, width, tall - 1);
  ctx.restore();
}

function drawLane({ ctx, x, shape, colour }, block) {
  if (!block.run || block.lane >= shape.lanes) return;
  const y = shape.lane + block.lane * LANE;
  const left = x(block.run);
  const width = Math.max(1, x(block.ran) - left);
  ctx.fillStyle = colour.run;
  ctx.fillRect(left, y + 1, width, LANE - 3);
  const from = Math.max(0, left) + 3;
  const line = fitting(
    ctx,
    [`${block.size} ${block.reason ?? ""}`, `${block.size}`],
    left + width - from - 2,
  );
  ctx.fillStyle = colour["on-run"];
  if (line) ctx.fillText(line, from, y + LANE / 2);
  if (block.busyUntil > block.ran) drawRetries(ctx, x, block, y + 1, LANE - 3, colour);
  if (block.error && width > 14) cross(ctx, left + width - 6, y + LANE / 2 - 0.5, colour["on-run"]);
}

const fitting = (ctx, texts, width) => texts.find((text) => ctx.measureText(text).width <= width);

function cross(ctx, x, y, colour) {
  ctx.strokeStyle = colour;
  ctx.lineWidth = 1.8;
  ctx.beginPath();
  ctx.moveTo(x - 3.5, y - 3.5);
  ctx.lineTo(x + 3.5, y + 3.5);
  ctx.moveTo(x - 3.5, y + 3.5);
  ctx.lineTo(x + 3.5, y - 3.5);
  ctx.stroke();
}

function drawChosen({ ctx, x, shape, colour }, { block, request }) {
  ctx.strokeStyle = colour.focus;
  ctx.lineWidth = 2;
  const left = x(block.from);
  const right = x(block.to);
  const tall = Math.max(1, block.members.length) * shape.row;
  ctx.strokeRect(left - 2, top(shape, block, 0) - 3, right - left + 4, tall + 4);
  if (block.run && block.lane < shape.lanes) {
    ctx.strokeRect(
      x(block.run),
      shape.lane + block.lane * LANE,
      Math.max(2, x(block.busyUntil) - x(block.run)),
      LANE - 1,
    );
  }
  const index = request ? block.members.indexOf(request) : -1;
  if (index >= 0) {
    ctx.lineWidth = 1.5;
    ctx.strokeStyle = colour.text;
    ctx.strokeRect(
      x(request.start) - 1,
      top(shape, block, index) - 1,
      x(request.ended) - x(request.start) + 2,
      Math.max(3, shape.row),
    );
  }
}

function drawCursor({ ctx, shape, view, colour }, at) {
  const left = Math.round(scale(view, shape.width)(at)) + 0.5;
  ctx.strokeStyle = colour["text-muted"];
  ctx.setLineDash([3, 3]);
  ctx.lineWidth = 1;
  ctx.beginPath();
  ctx.moveTo(left, shape.ruler);
  ctx.lineTo(left, shape.height);
  ctx.stroke();
  ctx.setLineDash([]);
}

/** What is below the pointer: a block, and the request of it if it is on one. */
export function hit(shape, view, px, py) {
  const at = unscale(view, shape.width)(px);
  const slack = (3 / shape.width) * (view.to - view.from);
  if (py >= shape.lane && py < shape.body - PAD) {
    const lane = Math.floor((py - shape.lane) / LANE);
    const block = shape.seen.find(
      (each) =>
        each.lane === lane && each.run && at >= each.run - slack && at <= each.busyUntil + slack,
    );
    return block ? { block, request: null } : null;
  }
  if (py < shape.body) return null;
  const row = Math.floor((py - shape.body) / shape.row);
  const block = shape.seen.find(
    (each) =>
      row >= each.row &&
      row < each.row + Math.max(1, each.members.length) &&
      at >= each.from - slack &&
      at <= each.to + slack,
  );
  if (!block) return null;
  return { block, request: block.members[row - block.row] ?? null };
}
