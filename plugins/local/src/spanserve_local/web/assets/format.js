// Numbers, durations and times as people read them.

const settings = { utc: stored("utc", "") === "1" };

function stored(name, otherwise) {
  try {
    return localStorage.getItem(`spanserve.${name}`) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(`spanserve.${name}`, value);
  } catch {
    // Without storage a choice lasts as long as the page.
  }
}

export { stored as remembered };

export const isUtc = () => settings.utc;

export function setUtc(utc) {
  settings.utc = utc;
  remember("utc", utc ? "1" : "");
}

/** A length in milliseconds, with three figures that count: `0.423 ms`, `41.2 ms`, `1.23 s`. */
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms >= 60_000) return `${(ms / 60_000).toFixed(1)} min`;
  if (ms >= 1000) return `${(ms / 1000).toPrecision(ms < 100_000 ? 3 : 4)} s`;
  if (ms >= 100) return `${ms.toFixed(0)} ms`;
  if (ms >= 10) return `${ms.toFixed(1)} ms`;
  if (ms >= 1) return `${ms.toFixed(2)} ms`;
  return ms === 0 ? "0 ms" : `${ms.toFixed(3)} ms`;
}

const two = (number) => String(number).padStart(2, "0");

function partsOf(ms) {
  const date = new Date(ms);
  const utc = settings.utc;
  return {
    year: utc ? date.getUTCFullYear() : date.getFullYear(),
    month: (utc ? date.getUTCMonth() : date.getMonth()) + 1,
    day: utc ? date.getUTCDate() : date.getDate(),
    hour: utc ? date.getUTCHours() : date.getHours(),
    minute: utc ? date.getUTCMinutes() : date.getMinutes(),
    second: utc ? date.getUTCSeconds() : date.getSeconds(),
  };
}

export function day(ms) {
  const at = partsOf(ms);
  return `${at.year}-${two(at.month)}-${two(at.day)}`;
}

/** The time of day, with so many decimals of a second. */
export function clock(ms, decimals = 3) {
  const at = partsOf(ms);
  const text = `${two(at.hour)}:${two(at.minute)}:${two(at.second)}`;
  if (decimals === 0) return text;
  const micros = Math.floor((((ms % 1000) + 1000) % 1000) * 1000 + 1e-3);
  return `${text}.${String(micros).padStart(6, "0").slice(0, decimals)}`;
}

/** Date and time; the date only where it is not today's. */
export function when(ms, decimals = 3) {
  return day(ms) === day(Date.now()) ? clock(ms, decimals) : `${day(ms)} ${clock(ms, decimals)}`;
}

export const iso = (ms) => new Date(ms).toISOString();

export function ago(ms) {
  const seconds = Math.max(0, (Date.now() - ms) / 1000);
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129_600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86_400)} days ago`;
}

const grouped = new Intl.NumberFormat("en-US");

export const count = (number) => grouped.format(number);

export const plural = (number, word, many = `${word}s`) =>
  `${count(number)} ${number === 1 ? word : many}`;

export function percent(share) {
  if (share > 0 && share < 0.001) return "< 0.1 %";
  return `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
}

export function bytes(number) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let left = number;
  while (left >= 1000 && unit < units.length - 1) {
    left /= 1000;
    unit += 1;
  }
  return `${left >= 100 || unit === 0 ? left.toFixed(0) : left.toFixed(1)} ${units[unit]}`;
}

export const short = (id) => (id ? id.slice(0, 8) : "");

/** Round distances for the ticks of an axis of this length. */
export function ticks(from, to, most) {
  const rough = (to - from) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
  const all = [];
  for (let number = Math.ceil(from / step); number * step <= to; number += 1)
    all.push(number * step);
  return { step, all };
}
