// What a run covers: by flag, with who has reported and how it compares, and its files, least covered first.

import { attribute, h, hide, KeyedList, text } from "../dom.js";
import { count, counted, percent } from "../format.js";
import { moreButton, panel } from "../parts.js";

const STEP = 5;
/** The flag of all flags together. */
const ALL = "*";

export function mountCoverage(app, { project, run }) {
  const summaries = app.store.watch("coverage_summary", { project, runId: run });
  const files = app.store.watch("coverage", { project, runId: run });
  const flags = h("ul.problems.covered-flags");
  const items = h("ul.problems.covered-files");
  const more = moreButton(STEP, () => app.store.announce());
  const flagList = new KeyedList(flags, () => flagRow(summaries));
  const fileList = new KeyedList(items, () => fileRow(files));
  const { element, note } = panel("Coverage", {}, flags, items, more.element);
  return {
    element,
    draw() {
      const all = [...summaries.rows.values()];
      // Of a single flag, all flags together say nothing more.
      const shown = all.length > 2 ? all : all.filter((row) => summaries.value(row, "flag") !== ALL);
      shown.sort((a, b) => (summaries.value(a, "flag") < summaries.value(b, "flag") ? -1 : 1));
      flagList.draw(shown, (row) => summaries.rowKey(row));
      const rows = [...files.rows.values()];
      const share = (row) => files.value(row, "percent") ?? 100;
      rows.sort((a, b) => share(a) - share(b) || (files.rowKey(a) < files.rowKey(b) ? -1 : 1));
      fileList.draw(rows.slice(0, more.limit), (row) => files.rowKey(row));
      more.update(rows.length);
      hide(element, all.length === 0);
      text(note, rows.length > 0 ? `${counted(rows.length, "file")}, least covered first` : "");
    },
    unmount() {
      app.store.release(summaries);
      app.store.release(files);
    },
  };
}

/** How much is covered: a bar with its number. */
function coveredBar(name) {
  const segment = h("span.segment", { "data-segment": "passed" });
  const element = h("div.bar", { role: "progressbar", "aria-label": name, "aria-valuemin": 0, "aria-valuemax": 100, "data-plan": "known" }, segment);
  return {
    element,
    update(share) {
      segment.style.width = `${share ?? 0}%`;
      attribute(element, "aria-valuenow", Math.floor(share ?? 0));
    },
  };
}

function coveredRow(name) {
  const bar = coveredBar("Lines covered");
  const share = h("span.number.num.covered-share");
  const about = h("span.sub");
  return {
    element: h("li.problem.covered", {}, h("span.problem-text", {}, name, about), bar.element, share),
    update(part, words) {
      bar.update(part);
      text(share, part === null ? "–" : `${percent(part)} %`);
      text(about, words);
    },
  };
}

function flagRow(summaries) {
  const name = h("span.what");
  const parts = coveredRow(name);
  return {
    element: parts.element,
    update(row) {
      const value = (column) => summaries.value(row, column);
      text(name, value("flag") === ALL ? "All together" : value("flag") || "All tests");
      const [reported, expected] = [value("sessions_reported"), value("sessions_expected")];
      const who = expected === null ? counted(reported, "session") : `${count(reported)} of ${counted(expected, "session")}`;
      const lines = value("files") > 0 ? `${count(value("lines_covered"))} of ${counted(value("lines_total"), "line")}` : "no lines";
      const inexact = value("inexact") ? ["with percentages that name no lines"] : [];
      parts.update(value("percent"), [lines, who, ...inexact, ...trendWords(value)].join(" · "));
    },
  };
}

function trendWords(value) {
  const trend = value("trend");
  if (trend === null) return [];
  const points = `${trend > 0 ? "+" : ""}${trend.toFixed(1)}`;
  return [`${points === "-0.0" ? "0.0" : points} points against ${value("compared_with")}`];
}

function fileRow(files) {
  const name = h("span.message");
  const parts = coveredRow(name);
  return {
    element: parts.element,
    update(row) {
      const value = (column) => files.value(row, column);
      text(name, value("file"));
      const lines = `${count(value("lines_covered"))} of ${counted(value("lines_total"), "line")}`;
      parts.update(value("percent"), [lines, value("flag")].filter(Boolean).join(" · "));
    },
  };
}
