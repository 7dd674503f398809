#!/usr/bin/env bash
# Installs what the tests need, runs them all, and closes with `N passed, N failed`.
#
#   tests/run.sh            everything, at a size for every change
#   tests/run.sh --long     the same tests with the long numbers of repetitions (WEIR_LONG=1)
#
# Contract: each step adds its totals; a step that fails to build, ends before its totals or prints none adds one failure,
# and so does a test that is ignored or skipped: what did not run has not passed. Exit code 0 only without failures.
# One cargo build serves all steps: the browser tests use the binary that the Rust tests were built with.
# Caches (browser packages, cargo-deny, Kafka) lie under ~/.cache/weir and may be missing.
# REALDATA_DIR: folder of real report files, ../shared/realdata beside the repository unless set.
set -uo pipefail
cd "$(dirname "$0")/.."

for argument in "$@"; do
    case "$argument" in
        --long) export WEIR_LONG=1 ;;
        *) echo "usage: tests/run.sh [--long]" >&2; exit 2 ;;
    esac
done
export REALDATA_DIR="${REALDATA_DIR:-$PWD/../shared/realdata}"
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"
exec </dev/null

passed=0
failed=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# count NAME EXIT_CODE "P F": adds a step's totals; without totals, or with a bad exit code that they do not explain, the
# step is a failure.
count() {
    local name=$1 code=$2 p f
    read -r p f <<<"$3"
    if [ -z "${f:-}" ]; then
        p=0 f=1
        echo "FAILED $name: no totals (exit code $code)"
    elif [ "$code" -ne 0 ] && [ "$f" -eq 0 ]; then
        f=1
        echo "FAILED $name: exit code $code"
    fi
    passed=$((passed + p))
    failed=$((failed + f))
    echo "== $((SECONDS - started)) s: $name: $p passed, $f failed"
}

# begin NAME: announces a step and starts its clock.
begin() {
    started=$SECONDS
    echo "== $1"
}

# cargo's totals: "test result: ok. 3 passed; 0 failed; 0 ignored; …", one line a test binary.
cargo_totals() {
    awk '/^test result: /{ for (i = 2; i <= NF; i++) { if ($i ~ /^passed;/) p += $(i - 1)
         if ($i ~ /^(failed|ignored);/) f += $(i - 1) } seen = 1 } END { if (seen) print p + 0, f + 0 }' "$1"
}

# node's totals, in its TAP report: "# pass 3", "# fail 0", "# cancelled 0", "# skipped 0", "# todo 0".
node_totals() {
    awk '/^# pass /{ p = $3; seen = 1 } /^# (fail|cancelled|skipped|todo) /{ f += $3 } END { if (seen) print p + 0, f + 0 }' "$1"
}

rust_tests() {
    begin "$1"
    cargo test --locked --workspace --no-fail-fast "${@:2}" 2>&1 | tee "$scratch/cargo"
    count "$1" "${PIPESTATUS[0]}" "$(cargo_totals "$scratch/cargo")"
}

begin "build"
built=yes
if ! cargo build --locked --workspace --all-targets; then
    built=no
    count "build" 1 "0 1"
else
    echo "== $((SECONDS - started)) s: build"
fi

if [ "$built" = yes ]; then
    rust_tests "rust tests" --lib --bins --tests
    rust_tests "doc tests" --doc
fi

begin "browser tests"
export WEIR_BIN="$(realpath -m "${CARGO_TARGET_DIR:-target}")/debug/weir"
if ! [ -x "$WEIR_BIN" ] || [ "$built" = no ]; then
    count "browser tests" 1 ""
elif ! CHROMIUM=$(tests/tools/chromium.sh); then
    count "browser tests" 1 ""
elif ! npm ci --prefix tests/browser --prefer-offline --no-fund --no-audit --loglevel=error \
        --cache "${XDG_CACHE_HOME:-$HOME/.cache}/weir/npm"; then
    count "browser tests" 1 ""
else
    export CHROMIUM
    node --test --test-reporter=spec --test-reporter-destination=stdout \
        --test-reporter=tap --test-reporter-destination="$scratch/tap" tests/browser/*.test.mjs
    count "browser tests" $? "$(node_totals "$scratch/tap")"
fi

# A build fetches what this machine needs; the check looks at all packages.
begin "dependencies"
if ! deny=$(tests/tools/cargo_deny.sh); then
    count "dependencies" 1 ""
elif cargo fetch --locked && "$deny" --locked --offline check bans licenses sources; then
    count "dependencies" 0 "1 0"
else
    count "dependencies" 1 "0 1"
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
