// Durations over time: drag to zoom, click to open, errors as crosses.

import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import uPlot from "./vendor/uplot.js";
import { clock, count, duration, isUtc, plural, when } from "./format.js";
import { go, isFixed } from "./route.js";
import { colours, Failure, useTheme, useWidth } from "./ui.js";

const HEIGHT = 168;
const NEAR_PX = 12;
const CLICK_PX = 3;

export function Scatter({ here, points, onHold }) {
  const [box, width] = useWidth();
  const theme = useTheme();
  const [near, setNear] = useState(null);
  const data = points.data;
  const plot = useRef(null);
  const utc = isUtc();
  useEffect(() => {
    if (!width || !data) return undefined;
    plot.current = draw(box.current, width, data, setNear);
    return () => plot.current.destroy();
  }, [width, data, theme, utc]);
  const zoomed = isFixed(here) || here.min !== "" || here.max !== "";
  const errors = data ? data.error.reduce((sum, each) => sum + each, 0) : 0;
  return html`<section
    class="scatter"
    aria-label="Durations over time"
    onMouseEnter=${() => onHold(true)}
    onMouseLeave=${() => onHold(false)}
  >
    <p class="above">
      ${data && html`<span>${plural(data.start_ms.length, "trace")}, ${plural(errors, "error")}${data.left_out ? `; ${count(data.left_out)} more are not drawn` : ""}</span>`}
      <span class="muted">drag to zoom, click a point to open it</span>
      <span class="grow"></span>
      <span class="near">${near && html`${when(near.start)} · <b>${duration(near.duration)}</b>${near.error ? " · failed" : ""}`}</span>
      ${
        zoomed &&
        html`<button type="button" class="plain" onClick=${() => go({ since: "", until: "", min: "", max: "" })}>
        Zoom out
      </button>`
      }
    </p>
    <${Failure} error=${points.error} what="points" />
    <div
      ref=${box}
      class="plot"
      role="img"
      aria-label=${data ? `${plural(data.start_ms.length, "trace")}, ${plural(errors, "error")}` : "loading"}
    ></div>
  </section>`;
}

function draw(box, width, data, setNear) {
  const order = data.start_ms
    .map((_, at) => at)
    .sort((a, b) => data.start_ms[a] - data.start_ms[b]);
  const xs = order.map((at) => data.start_ms[at] / 1000);
  const floor = 0.001;
  const of = (wanted) =>
    order.map((at) =>
      Boolean(data.error[at]) === wanted ? Math.max(floor, data.duration_ms[at]) : null,
    );
  const colour = colours(["text-muted", "line", "run", "error"]);
  const axis = {
    stroke: colour["text-muted"],
    grid: { stroke: colour.line, width: 1 },
    ticks: { stroke: colour.line, width: 1, size: 4 },
    font: "11px system-ui, sans-serif",
  };
  let pressed = null;
  const plot = new uPlot(
    {
      width,
      height: HEIGHT,
      legend: { show: false },
      padding: [6, 32, 0, 0],
      scales: { x: { time: false }, y: { distr: 3, range: around } },
      cursor: { drag: { x: true, y: true, uni: 24, setScale: false }, points: { show: false } },
      axes: [
        {
          ...axis,
          size: 24,
          space: 90,
          splits: timeSplits,
          values: (u, all) => all.map((each) => timeLabel(u, each)),
        },
        {
          ...axis,
          size: 62,
          splits: durationSplits,
          filter: (u, splits) => splits,
          values: (u, all) => all.map(durationLabel),
        },
      ],
      series: [
        {},
        {
          stroke: colour.run,
          paths: () => null,
          points: { show: true, size: 4, fill: colour.run, width: 0 },
        },
        { stroke: colour.error, paths: () => null, points: { show: false } },
      ],
      hooks: {
        setSelect: [select],
        draw: [crosses],
        setCursor: [(u) => setNear(nearest(u))],
        ready: [
          (u) => {
            u.over.addEventListener(
              "mousedown",
              (event) => (pressed = [event.clientX, event.clientY]),
            );
            u.over.addEventListener("click", (event) => {
              const still =
                pressed &&
                Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) < CLICK_PX;
              const found = still && nearest(u);
              if (found) go({ trace: found.trace_id });
            });
          },
        ],
      },
    },
    [xs, of(false), of(true)],
    box,
  );

  function nearest(u) {
    const { left, top } = u.cursor;
    if (left < 0) return null;
    let best = null;
    let least = NEAR_PX ** 2;
    order.forEach((at, index) => {
      const dx = u.valToPos(xs[index], "x") - left;
      if (dx * dx > least) return;
      const dy = u.valToPos(Math.max(floor, data.duration_ms[at]), "y") - top;
      if (dx * dx + dy * dy < least) {
        least = dx * dx + dy * dy;
        best = at;
      }
    });
    u.over.classList.toggle("pointing", best !== null);
    if (best === null) return null;
    return {
      trace_id: data.trace_id[best],
      start: data.start_ms[best],
      duration: data.duration_ms[best],
      error: data.error[best],
    };
  }

  function crosses(u) {
    const { ctx } = u;
    ctx.save();
    ctx.strokeStyle = colour.error;
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.beginPath();
    const arm = 3.5 * devicePixelRatio;
    u.data[2].forEach((value, at) => {
      if (value === null) return;
      const x = u.valToPos(xs[at], "x", true);
      const y = u.valToPos(value, "y", true);
      ctx.moveTo(x - arm, y - arm);
      ctx.lineTo(x + arm, y + arm);
      ctx.moveTo(x - arm, y + arm);
      ctx.lineTo(x + arm, y - arm);
    });
    ctx.stroke();
    ctx.restore();
  }
  return plot;
}

function select(u) {
  const { left, top, width, height } = u.select;
  const changes = {};
  if (width > CLICK_PX && width < u.over.clientWidth - 1) {
    changes.since = String(Math.floor(u.posToVal(left, "x") * 1000));
    changes.until = String(Math.ceil(u.posToVal(left + width, "x") * 1000));
  }
  if (height > CLICK_PX && height < u.over.clientHeight - 1) {
    changes.min = u.posToVal(top + height, "y").toPrecision(3);
    changes.max = u.posToVal(top, "y").toPrecision(3);
  }
  u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  if (Object.keys(changes).length) go(changes);
}

const around = (u, low, high) => (low > 0 ? [low / 1.4, high * 1.4] : [0.1, 100]);

/** At 1, and where there is room at 2 and 5, of each power of ten. */
function durationSplits(u, axis, low, high) {
  const leading = Math.log10(high / low) < 2.5 ? [1, 2, 5] : [1];
  const all = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    all.push(...leading.map((digit) => Number(`${digit}e${power}`)));
  }
  return all.filter((value) => value >= low && value <= high);
}

const durationLabel = (value) =>
  duration(value)
    .replace(/(\.\d*?)0+ /, "$1 ")
    .replace(". ", " ");

const STEPS_S = [
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900,
  1800, 3600, 7200, 14_400, 43_200, 86_400,
];

function timeSplits(u, _axis, low, high) {
  const most = Math.max(2, u.over.clientWidth / 95 || 8);
  const step = STEPS_S.find((each) => (high - low) / each <= most) ?? 604_800;
  const all = [];
  for (let number = Math.ceil(low / step); number * step <= high; number += 1)
    all.push(number * step);
  u.timeStep = step;
  return all;
}

function timeLabel(u, value) {
  const decimals = u.timeStep >= 1 ? 0 : Math.ceil(-Math.log10(u.timeStep) - 1e-9);
  return clock(value * 1000 + 1e-4, decimals);
}
