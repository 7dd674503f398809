#!/usr/bin/env bash
# Prints the path of a Chromium, and installs Debian's when none is on PATH. Everything but the path goes to stderr.
set -euo pipefail

find_chromium() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

if ! find_chromium; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "no chromium on PATH: install it (Debian: apt-get install chromium) and run again" >&2
        exit 1
    fi
    archives="${XDG_CACHE_HOME:-$HOME/.cache}/weir/apt"
    mkdir -p "$archives/partial"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2
    apt-get install -y -qq --no-install-recommends -o "Dir::Cache::archives=$archives" -o APT::Sandbox::User=root \
        -o APT::Keep-Downloaded-Packages=true chromium fonts-liberation >&2
    find_chromium
fi
