// Small parts that several views share: icons, states, the progress bar, filter buttons, panels.

import { attribute, h, hide, text } from "./dom.js";
import { count, counted } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const PATHS = {
  passed: "M3.5 8.5l3 3 6-7",
  failed: "M4 4l8 8M12 4l-8 8",
  error: "M8 3.5v5.5M8 11.5v1",
  warning: "M8 3.5v5.5M8 11.5v1",
  info: "M8 7v5.5M8 3.8v1",
  timeout: "M8 4v4.5l3 1.8",
  running: "M8 5.2a2.8 2.8 0 1 0 0 5.6a2.8 2.8 0 1 0 0-5.6",
  skipped: "M4 8h8",
  flaky: "M2.5 10l3-5 3 6 2.5-4 2.5 3",
  broken: "M4 4l8 8M12 4l-8 8",
  fixed: "M3.5 8.5l3 3 6-7",
  abandoned: "M4 8h8",
  chevron: "M6 4l4 4-4 4",
};
const WORDS = {
  running: "Running", passed: "Passed", failed: "Failed", abandoned: "Abandoned", error: "Error", timeout: "Timeout",
  skipped: "Skipped", flaky: "Flaky", broken: "Broken", fixed: "Fixed",
};

/** The word for an outcome or state. */
export function word(state) {
  return WORDS[state] ?? state ?? "Unknown";
}

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name] ?? PATHS.skipped);
  svg.append(path);
  return svg;
}

/** An outcome or state: icon and word. */
export function stateMark() {
  const label = h("span.label");
  const element = h("span.state", {}, label);
  let shown;
  return {
    element,
    update(state) {
      if (state === shown) return;
      shown = state;
      element.querySelector("svg")?.remove();
      element.prepend(icon(state));
      attribute(element, "data-state", state);
      text(label, word(state));
    },
  };
}

const SEGMENTS = ["passed", "failed", "errored", "skipped", "running"];

/** How much is done and how it went: a bar in segments. `update` takes the counts of a run or suite. */
export function progressBar(name) {
  const segments = SEGMENTS.map((segment) => h("span.segment", { "data-segment": segment }));
  const element = h("div.bar", { role: "progressbar", "aria-label": name, "aria-valuemin": 0 }, ...segments);
  return {
    element,
    update(counts) {
      const { planned, started, finished } = counts;
      const running = Math.max(0, (started ?? 0) - (finished ?? 0));
      const total = Math.max(planned ?? 0, started ?? 0, finished ?? 0, 1);
      const sizes = { ...counts, running };
      SEGMENTS.forEach((segment, index) => {
        const size = sizes[segment] ?? 0;
        const width = `${Math.round((10_000 * size) / total) / 100}%`;
        if (segments[index].style.width !== width) segments[index].style.width = width;
        hide(segments[index], size === 0);
      });
      attribute(element, "data-plan", planned == null ? "unknown" : "known");
      attribute(element, "aria-valuemax", total);
      attribute(element, "aria-valuenow", finished ?? 0);
      attribute(element, "aria-valuetext", inWords(counts));
    },
  };
}

function inWords({ planned, finished, passed, failed, errored, skipped }) {
  const of = planned == null ? "finished" : `of ${count(planned)} finished`;
  return `${count(finished ?? 0)} ${of}: ${count(passed)} passed, ${count(failed)} failed, ${counted(errored ?? 0, "error")}, ${count(skipped)} skipped`;
}

/** Counts of a row by the names of their columns. */
export function countsOf(subscription, row) {
  const counts = {};
  for (const name of ["planned", "started", "finished", "passed", "failed", "errored", "skipped", "flaky"]) {
    counts[name] = subscription.value(row, name);
  }
  return counts;
}

/** Buttons of which one is pressed. `choices`: [[value, label], …]; labels may carry a count. */
export function choice(name, choices, chosen, onchoose) {
  let current = chosen;
  const buttons = choices.map(([value, label]) => {
    const amount = h("span.amount");
    const button = h("button.choice", { type: "button", onclick: () => select(value) }, label, amount);
    return { value, button, amount };
  });
  const element = h("div.choices", { role: "group", "aria-label": name }, ...buttons.map(({ button }) => button));
  const mark = () => buttons.forEach(({ value, button }) => attribute(button, "aria-pressed", String(value === current)));
  function select(value) {
    current = value;
    mark();
    onchoose(value);
  }
  mark();
  return {
    element,
    get value() {
      return current;
    },
    /** Shows how many each would show; without any, a choice is dimmed. */
    counts(amounts) {
      for (const { value, button, amount } of buttons) {
        text(amount, amounts[value] === undefined ? "" : count(amounts[value]));
        attribute(button, "data-empty", amounts[value] === 0);
      }
    },
  };
}

/** A titled part of a page. */
export function panel(title, { level = 2, note = "", tools = [] } = {}, ...content) {
  const noteElement = h("p.note", {}, note);
  const heading = h(`h${level}`, {}, title);
  const head = h("div.panel-head", {}, heading, noteElement, ...tools);
  const element = h("section.panel", {}, head, ...content);
  return { element, heading, note: noteElement };
}

/** What stands where rows would. */
export function emptyState() {
  const element = h("p.empty-state");
  return {
    element,
    /** Says why there are no rows; hides itself when there are some. */
    update(subscription, shown, empty) {
      hide(element, shown > 0 && subscription.error === null);
      if (subscription.error !== null) text(element, `Not available: ${subscription.error}`);
      else text(element, subscription.loaded ? empty : "Waiting for the first numbers…");
    },
  };
}

/** A button that shows more rows of a capped list. */
export function moreButton(step, onmore) {
  let limit = step;
  const button = h("button.more", { type: "button", onclick: () => { limit += step; onmore(); } });
  return {
    element: button,
    get limit() {
      return limit;
    },
    reset() {
      limit = step;
    },
    update(total) {
      hide(button, total <= limit);
      text(button, `Show ${count(Math.min(step, total - limit))} more of ${count(total)}`);
    },
  };
}
