#!/bin/sh
# Runs the shop as six processes that find each other by gossip, until Ctrl-C. The door is at http://127.0.0.1:8080.
set -eu
cd "$(dirname "$0")"
cargo build --quiet --package shop
export MAINSTAY_PROFILE="${MAINSTAY_PROFILE:-dev}"
shop=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/debug/shop

pids=
# Every process by its id, and no other.
stop() {
    trap - EXIT TERM
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    for pid in $pids; do wait "$pid" || true; done
}
trap stop EXIT
# A terminal sends Ctrl-C to all of them: one more signal would cut their drain short.
trap 'trap - EXIT; wait; exit 130' INT
trap 'exit 143' TERM

for service in identity inventory payments catalog orders; do
    "$shop" --config part.toml --services "$service" &
    pids="$pids $!"
done
"$shop" --config part.toml --services gateway --set server.address=127.0.0.1:8080 &
pids="$pids $!"
wait
