#!/usr/bin/env bash
# Makes the coverage reports in this folder anew, with the real tools, from sources/.
#
# Needs python3, node with npm, and go; fetches coverage and gcovr from PyPI, c8 from npm, gocover-cobertura and gcov2lcov
# with go; a C compiler with gcov for gcovr. The folder of the machine becomes /ci/shop, and times are taken away.
# The events beside each report are made by
#   WEIR_REWRITE=1 cargo test --test decode_coverage
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$here/sources/." "$work"

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q coverage==7.17.* gcovr==8.*

# keep FILE NAME: takes a report over without what belongs to this machine and this moment.
keep() {
    sed -e "s#$work#/ci/shop#g" -e 's#timestamp="[0-9.]*"#timestamp="1790000000"#' "$1" >"$here/$2"
}

cd "$work/python"
"$work/venv/bin/python" -m coverage run --branch --source=shop check.py
"$work/venv/bin/python" -m coverage lcov -q -o coverage.info
"$work/venv/bin/python" -m coverage xml -q -o coverage.xml
keep coverage.info coveragepy.info
keep coverage.xml coveragepy.xml

cd "$work/node"
npm install --silent --no-save c8@12 >/dev/null
npx c8 --all --exclude check.mjs --reporter=lcovonly --reporter=cobertura --reports-dir=out node check.mjs >/dev/null
keep out/lcov.info c8.info
keep out/cobertura-coverage.xml c8.xml

cd "$work/go"
go test -count=1 -coverprofile=cover.out ./... >/dev/null
go run github.com/boumenot/gocover-cobertura@v1.4.0 <cover.out >coverage.xml
go run github.com/jandelgado/gcov2lcov@v1.1.1 -infile cover.out -outfile coverage.info >/dev/null
keep coverage.xml gocover-cobertura.xml
keep coverage.info gcov2lcov.info

cd "$work/c"
cc --coverage -O0 -o check cart.c check.c
./check
"$work/venv/bin/gcovr" --root . --cobertura coverage.xml --lcov coverage.info >/dev/null
keep coverage.xml gcovr.xml
keep coverage.info gcovr.info
