// How long runs take, as far as their events tell.

/** A run that says nothing for so long is not counted as going on. */
const SILENT_MS = 120_000;

/** How long a run has been going, in ms; null when it is not known. */
export function elapsedMs(state, firstAt, lastAt, now) {
  if (firstAt == null || lastAt == null) return null;
  const end = state === "running" && now - lastAt < SILENT_MS ? Math.max(now, lastAt) : lastAt;
  return Math.max(0, end - firstAt);
}
