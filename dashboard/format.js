// Numbers, times and names as people read them. Null is a dash.

const COUNT = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const ONE = new Intl.NumberFormat("en-GB", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const DAY_MS = 86_400_000;

export const DASH = "–";

export function count(value) {
  return value == null ? DASH : COUNT.format(value);
}

/** 1 count, with the right form of its noun. */
export function counted(value, noun, plural = `${noun}s`) {
  return `${count(value)} ${value === 1 ? noun : plural}`;
}

export function rate(value) {
  if (value == null) return DASH;
  return value >= 100 ? COUNT.format(value) : ONE.format(value);
}

/** A number of percent; never rounded up to 100 or down to 0. */
export function percent(value) {
  if (value == null) return DASH;
  if (value > 99.9 && value < 100) return "99.9";
  if (value > 0 && value < 0.1) return "0.1";
  return value === 0 || value === 100 ? COUNT.format(value) : ONE.format(value);
}

/** A length of time in ms, short: 0.2 ms, 840 ms, 3.4 s, 2 min 05 s, 1 h 07 min. */
export function duration(ms) {
  if (ms == null) return DASH;
  if (ms < 1) return `${ms.toPrecision(1)} ms`;
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${ONE.format(Math.floor(ms / 100) / 10)} s`;
  const seconds = Math.floor(ms / 1_000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${String(seconds % 60).padStart(2, "0")} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${String(minutes % 60).padStart(2, "0")} min` : `${Math.floor(hours / 24)} days`;
}

/** How long ago, in whole units: now, 12 s ago, 3 min ago. */
export function ago(at, now) {
  if (at == null) return DASH;
  const seconds = Math.floor((now - at) / 1_000);
  if (seconds < 2) return "now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3_600)} h ago`;
  return `${Math.floor(seconds / 86_400)} days ago`;
}

/** A time of day, with the day when it is not of the last 24 hours. */
export function clock(at, now = Date.now()) {
  if (at == null) return DASH;
  return Math.abs(now - at) < DAY_MS ? CLOCK.format(at) : DAY.format(at);
}

export function commit(value) {
  if (!value) return null;
  return /^[0-9a-f]{12,}$/i.test(value) ? value.slice(0, 8) : value;
}
