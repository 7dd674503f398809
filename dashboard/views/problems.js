// What was announced and is not there, and what was not taken, with the reason.

import { h, hide, KeyedList, text } from "../dom.js";
import { ago, count, counted } from "../format.js";
import { emptyState, moreButton, panel } from "../parts.js";
import { runAddress } from "../router.js";

const STEP = 100;
const MISSING_WORDS = {
  not_started: (id, amount) => `${counted(amount ?? 0, "test")} announced and never seen${id ? ` in ${id}` : ""}`,
  not_finished: (id) => `${id} began and never ended`,
  abandoned: () => "The run went silent without ending",
  shard_not_started: (id, amount) => `${counted(amount ?? 0, "shard")} announced and never seen`,
  version_gap: (id, amount) => `${counted(amount ?? 0, "event")} of ${id} never came`,
  overflow: (id, amount) => `${counted(amount ?? 0, "event")} of more ${id} than there is room for were left out`,
  silent_shard: (id) => `${id} has gone silent`,
};

/** `run`: {project, run} shows that run's alone, and nothing when nothing is missing. */
export function mountMissing(app, run = null) {
  const missing = app.store.watch("missing", run ? { project: run.project, runId: run.run } : {});
  const items = h("ul.problems");
  const empty = emptyState();
  const more = moreButton(STEP, () => app.store.announce());
  const list = new KeyedList(items, () => missingRow(app, missing, run === null));
  const { element, note } = panel("Missing", {}, items, empty.element, more.element);
  return {
    element,
    draw() {
      const rows = [...missing.rows.values()].filter((row) => run !== null || app.project === null || missing.value(row, "project") === app.project);
      rows.sort((a, b) => (missing.value(b, "since") ?? 0) - (missing.value(a, "since") ?? 0) || (missing.rowKey(a) < missing.rowKey(b) ? -1 : 1));
      list.draw(rows.slice(0, more.limit), (row) => missing.rowKey(row));
      more.update(rows.length);
      hide(element, run !== null && rows.length === 0 && missing.error === null);
      hide(items, rows.length === 0);
      empty.update(missing, rows.length, "Nothing: all that was announced came, all that began ended.");
      text(note, rows.length > 0 ? "announced or begun, and not there" : "");
    },
    unmount: () => app.store.release(missing),
  };
}

function missingRow(app, missing, withRun) {
  const what = h("span.what");
  const link = h("a");
  const worker = h("span.sub");
  const since = h("span.number.num");
  return {
    element: h("li.problem", {}, h("span.problem-text", {}, what, h("span.sub", {}, withRun ? link : null, worker)), since),
    update(row) {
      const value = (column) => missing.value(row, column);
      const words = MISSING_WORDS[value("kind")];
      text(what, words ? words(value("id"), value("count")) : `${value("kind")}: ${value("id")}`);
      if (withRun) {
        text(link, `${value("project")} / ${value("run")}`);
        link.href = runAddress(value("project"), value("run"));
      }
      text(worker, value("worker") ? ` on ${value("worker")}` : "");
      text(since, ago(value("since"), app.now()));
    },
  };
}

export function mountRejects(app) {
  const rejects = app.store.watch("rejects");
  const items = h("ul.problems");
  const empty = emptyState();
  const more = moreButton(STEP, () => app.store.announce());
  const list = new KeyedList(items, () => rejectRow(app, rejects));
  const { element, note } = panel("Rejected", {}, items, empty.element, more.element);
  return {
    element,
    draw() {
      const rows = [...rejects.rows.values()].filter((row) => app.project === null || rejects.value(row, "project") === app.project);
      rows.sort((a, b) => (rejects.value(b, "at") ?? 0) - (rejects.value(a, "at") ?? 0) || (rejects.rowKey(a) < rejects.rowKey(b) ? -1 : 1));
      list.draw(rows.slice(0, more.limit), (row) => rejects.rowKey(row));
      more.update(rows.length);
      hide(items, rows.length === 0);
      empty.update(rejects, rows.length, "Nothing: every event was taken.");
      text(note, rows.length > 0 ? "not taken, and why" : "");
    },
    unmount: () => app.store.release(rejects),
  };
}

function rejectRow(app, rejects) {
  const kind = h("span.what");
  const message = h("span.message");
  const place = h("span.sub");
  const at = h("span.number.num");
  return {
    element: h("li.problem", {}, h("span.problem-text", {}, kind, message, place), at),
    update(row) {
      const value = (column) => rejects.value(row, column);
      const amount = value("count") ?? 1;
      text(kind, amount > 1 || value("topic") === "" ? `${count(amount)} × ${value("kind")}` : value("kind"));
      text(message, value("message") ?? "");
      const position = value("topic") === "" ? null : `${value("topic")} ${value("partition")}/${value("offset")}[${value("index")}]`;
      text(place, [value("project"), value("stream"), position].filter(Boolean).join(" · "));
      text(at, ago(value("at"), app.now()));
    },
  };
}
