// The last errors, as they come.

import { attribute, h, hide, KeyedList, text } from "../dom.js";
import { ago } from "../format.js";
import { emptyState, moreButton, panel } from "../parts.js";
import { runAddress } from "../router.js";

const STEP = 25;

export function mountErrors(app) {
  // The channel of this name carries several views; of them only this one has outcomes.
  const errors = app.store.watch("error_stream", { outcome: ["failed", "error", "timeout"] });
  const items = h("ul.problems");
  const empty = emptyState();
  const more = moreButton(STEP, () => app.store.announce());
  const list = new KeyedList(items, () => errorRow(app, errors));
  const { element, note } = panel("Last errors", {}, items, empty.element, more.element);
  return {
    element,
    draw() {
      const rows = [...errors.rows.values()].filter((row) => app.project === null || errors.value(row, "project") === app.project);
      rows.sort((a, b) => errors.value(b, "at") - errors.value(a, "at") || (errors.rowKey(a) < errors.rowKey(b) ? -1 : 1));
      list.draw(rows.slice(0, more.limit), (row) => errors.rowKey(row));
      more.update(rows.length);
      hide(items, rows.length === 0);
      empty.update(errors, rows.length, "No errors in the last days.");
      text(note, rows.length > 0 ? "newest first" : "");
    },
    unmount: () => app.store.release(errors),
  };
}

function errorRow(app, errors) {
  const test = h("span.what");
  const message = h("span.message");
  const link = h("a");
  const about = h("span");
  const at = h("span.number.num");
  return {
    element: h("li.problem", {}, h("span.problem-text", {}, test, message, h("span.sub", {}, link, about)), at),
    update(row) {
      const value = (column) => errors.value(row, column);
      text(test, value("test_name") ?? value("test") ?? value("run"));
      text(message, [value("type"), value("message")].filter(Boolean).join(": "));
      attribute(link, "href", runAddress(value("project"), value("run")));
      text(link, `${value("project")} / ${value("run")}`);
      text(about, value("worker") ? ` on ${value("worker")}` : "");
      text(at, ago(value("at"), app.now()));
    },
  };
}
