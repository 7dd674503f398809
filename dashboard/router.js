// What the address names: `#/`, `#/alerts`, `#/patterns`, `#/flaky`, `#/slow`, `#/people`, `#/problems`, `#/runs/{project}/{run}`, names percent-encoded.

/** → {page, project?, run?} */
export function parse(hash) {
  const parts = hash.replace(/^#\/?/, "").split("/").filter((part) => part !== "");
  let names;
  try {
    names = parts.map(decodeURIComponent);
  } catch {
    return { page: "unknown" };
  }
  const [page, project, run] = names;
  if (page === undefined) return { page: "runs" };
  if (page === "runs" && names.length === 3) return { page: "run", project, run };
  if (["alerts", "patterns", "flaky", "slow", "people", "problems"].includes(page) && names.length === 1) return { page };
  return { page: "unknown" };
}

export function runAddress(project, run) {
  return `#/runs/${encodeURIComponent(project)}/${encodeURIComponent(run)}`;
}
