#!/usr/bin/env python3
"""Counts the cases of JUnit files with another parser than Weir's, by the plainest rules.

Each `testcase` element is one case. It is errored if it has an `error`, else failed if it has a `failure`, else skipped
if it has a `skipped` or its status says that it did not run, else passed; flaky if it passed and has a `flakyFailure`
or a `flakyError`. Files that expat refuses are counted by html.parser, which refuses nothing, and say so.

Prints one JSON object: {file: {parser, tests, passed, failed, errored, skipped, flaky, cases: [[name, outcome]]}}.
Standard library only.
"""

import json
import pathlib
import sys
import xml.etree.ElementTree
from html.parser import HTMLParser

FIELDS = ("tests", "passed", "failed", "errored", "skipped", "flaky")
DID_NOT_RUN = {"notrun", "disabled"}


def outcome(children, status):
    if "error" in children:
        return "errored"
    if "failure" in children:
        return "failed"
    if "skipped" in children or status in DID_NOT_RUN:
        return "skipped"
    return "passed"


def nothing():
    return {**dict.fromkeys(FIELDS, 0), "cases": []}


def add(counts, children, attributes):
    counts["tests"] += 1
    ended = outcome(children, attributes.get("status"))
    counts[ended] += 1
    counts["cases"].append([attributes.get("name"), ended])
    if ended == "passed" and children & {"flakyFailure", "flakyError", "flakyfailure", "flakyerror"}:
        counts["flaky"] += 1


def by_expat(text):
    counts = nothing()
    for case in xml.etree.ElementTree.fromstring(text).iter("testcase"):
        add(counts, {child.tag for child in case}, case.attrib)
    return counts


class Lenient(HTMLParser):
    def __init__(self):
        super().__init__()
        self.counts = nothing()
        self.case = None

    def handle_starttag(self, tag, attrs):
        if tag == "testcase":
            self.case = (set(), dict(attrs))
        elif self.case:
            self.case[0].add(tag)

    def handle_endtag(self, tag):
        if tag == "testcase" and self.case:
            add(self.counts, *self.case)
            self.case = None


def count(path):
    raw = path.read_bytes()
    try:
        return {"parser": "expat", **by_expat(raw)}
    except xml.etree.ElementTree.ParseError:
        lenient = Lenient()
        lenient.feed(raw.decode("utf-8", "replace"))
        return {"parser": "html.parser", **lenient.counts}


def main(folders):
    files = sorted(path for folder in folders for path in pathlib.Path(folder).iterdir() if path.is_file())
    json.dump({f"{path.parent.name}/{path.name}": count(path) for path in files}, sys.stdout, indent=1)


if __name__ == "__main__":
    main(sys.argv[1:])
