// Tells live, quiet and stale apart, in words.
//
// Contract: a pure function of what the connection knows and the time. `live`: numbers change as events come. `quiet`: the
// server says that it is there and nothing changes. `stale`: what is shown may not be what holds now, and since when.
// `connecting`: nothing has been shown yet.

const QUIET_AFTER_MS = 5_000;
const BEHIND_MS = 5_000;
/** Where a server calls its numbers stale, so long a wait is why. */
const BEHIND_SHOWN_MS = 1_000;
const SILENT_HEARTBEATS = 1.5;

/** → {state, text, since}: `since` is local epoch ms, or null. */
export function health(status, now) {
  const { link, heardAt, changedAt, heartbeatMs, lostAt, reason } = status;
  if (link === "unauthorized") return { state: "stale", text: "a token is needed", since: lostAt };
  if (link === "refused") return { state: "stale", text: `the server refused: ${reason}`, since: lostAt };
  if (link !== "open") {
    if (heardAt === null && lostAt === null) return { state: "connecting", text: "connecting", since: null };
    return { state: "stale", text: reason ?? "the connection was lost", since: heardAt ?? lostAt };
  }
  if (heardAt === null) return { state: "connecting", text: "waiting for the first numbers", since: null };
  if (lostAt !== null) return { state: "stale", text: "catching up", since: lostAt };
  if (now - heardAt > SILENT_HEARTBEATS * heartbeatMs) {
    return { state: "stale", text: "the server says nothing", since: heardAt };
  }
  const trouble = serverTrouble(status.condition);
  if (trouble) return { state: "stale", text: trouble, since: status.currentAt };
  if (changedAt === null || now - changedAt > QUIET_AFTER_MS) {
    return { state: "quiet", text: "connected, nothing changes", since: changedAt };
  }
  return { state: "live", text: "numbers move as events come", since: null };
}

/** What the server says is wrong with its own numbers; null when nothing is. */
export function serverTrouble(progress) {
  if (!progress) return null;
  const { phase, stale, completeness = {} } = progress;
  if (phase === "recovering") {
    const { replayed, toReplay } = completeness;
    if (toReplay > 0) return `the server is recovering: ${Math.floor((100 * replayed) / toReplay)} % of its log read`;
    return "the server is recovering";
  }
  if (phase === "starting") return "the server is starting";
  if (phase === "draining") return "the server is shutting down";
  if (completeness.behindMs > (stale ? BEHIND_SHOWN_MS : BEHIND_MS)) {
    return `the server is behind by ${Math.round(completeness.behindMs / 1000)} s (${completeness.behindRecords} records)`;
  }
  return stale ? "the server's numbers do not move" : null;
}
