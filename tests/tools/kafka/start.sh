#!/usr/bin/env bash
# Starts one Kafka broker to try Weir with, on 127.0.0.1, and prints its address once it serves: tests/tools/kafka/start.sh [PORT]
# Its data is in a temporary folder, and gone with it: it ends with Ctrl-C, or when this script is ended.
set -euo pipefail

port=${1:-9092}
libs=$("$(dirname "$0")/fetch.sh")
folder=$(mktemp -d)
broker=
end() {
    # In order it would wait for others to take over; there are none, and its data goes anyway.
    [ -z "$broker" ] || { kill -9 "$broker" && wait "$broker"; } 2>/dev/null || true
    rm -rf "$folder"
}
trap end EXIT
trap 'exit 0' INT TERM

cat >"$folder/server.properties" <<EOF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$folder/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
auto.create.topics.enable=false
message.max.bytes=17825792
EOF
java=(java -Xms128m -Xmx512m -cp "$libs/*")
"${java[@]}" kafka.tools.StorageTool format -t "$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c1-22)" \
    -c "$folder/server.properties" >/dev/null 2>&1
mkfifo "$folder/said"
"${java[@]}" kafka.Kafka "$folder/server.properties" >"$folder/said" 2>&1 &
broker=$!
while IFS= read -r line; do
    case "$line" in
        *"Kafka Server started"*) echo "127.0.0.1:$port" ;;
        *ERROR* | *FATAL* | *Exception*) echo "$line" >&2 ;;
    esac
done <"$folder/said"
echo "the broker has ended" >&2
exit 1
