#!/usr/bin/env python3
"""Counts the lines of LCOV and Cobertura files with another parser than Weir's, by the plainest rules.

A line is a file and a number; it is covered if its count is above zero in any place where it stands. A file is one that
has lines. A report without any line counts as what it declares: LF and LH, lines-valid and lines-covered.

Prints one JSON object: {file: {files, linesCovered, linesTotal}}. Standard library only.
"""

import json
import pathlib
import posixpath
import re
import sys
import xml.etree.ElementTree


def lcov(text):
    file, hits, declared = None, {}, [0, 0]
    for line in text.splitlines():
        if match := re.fullmatch(r"SF:(.+)", line):
            file = match[1]
        elif match := re.fullmatch(r"DA:(\d+),(-?[\d.e+]+)(,.*)?", line):
            key = (file, int(match[1]))
            hits[key] = max(hits.get(key, 0), float(match[2]))
        elif match := re.fullmatch(r"L([HF]):(\d+)", line):
            declared["HF".index(match[1])] += int(match[2])
    return hits, declared


def cobertura(text):
    root = xml.etree.ElementTree.fromstring(text)
    hits = {}
    for element in root.iter("class"):
        for line in element.iter("line"):
            key = (element.get("filename"), int(line.get("number")))
            hits[key] = max(hits.get(key, 0), float(line.get("hits")))
    return hits, [int(root.get("lines-covered", 0)), int(root.get("lines-valid", 0))]


def count(path):
    hits, declared = (cobertura if path.suffix == ".xml" else lcov)(path.read_text("utf-8"))
    merged = {}
    for (name, line), count in hits.items():
        key = (posixpath.normpath(name.replace("\\", "/")), line)
        merged[key] = max(merged.get(key, 0), count)
    if not merged:
        return {"files": 0, "linesCovered": declared[0], "linesTotal": declared[1]}
    covered = sum(count > 0 for count in merged.values())
    return {"files": len({name for name, _ in merged}), "linesCovered": covered, "linesTotal": len(merged)}


def main(folders):
    files = sorted(path for folder in folders for path in pathlib.Path(folder).iterdir() if path.is_file())
    files = [path for path in files if path.suffix in (".xml", ".info", ".lcov")]
    json.dump({f"{path.parent.name}/{path.name}": count(path) for path in files}, sys.stdout, indent=1)


if __name__ == "__main__":
    main(sys.argv[1:])
