#!/usr/bin/env bash
# Prints the folder with the jars of Apache Kafka, and fetches them when they are not there. Everything but the path goes to stderr.
# A folder has its name only once it is whole, so what was broken off is fetched anew.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$here/pom.xml")
home="${XDG_CACHE_HOME:-$HOME/.cache}/weir"
libs="$home/kafka-$version"

if ! [ -d "$libs" ]; then
    if ! command -v java >/dev/null || ! command -v mvn >/dev/null; then
        echo "Kafka needs java (17 or later) and mvn on PATH" >&2
        exit 1
    fi
    mkdir -p "$home"
    scratch=$(mktemp -d "$home/kafka-fetch.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    mvn -q -B -Dstyle.color=never -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
        -DoutputDirectory="$scratch/libs" >&2
    # Another one may have been as fast.
    mv -T "$scratch/libs" "$libs" 2>/dev/null || [ -d "$libs" ]
fi
echo "$libs"
