#!/bin/sh
# Runs the shop as four processes that find each other through the files in fleet/, until Ctrl-C.
set -eu
cd "$(dirname "$0")"
cargo build --quiet --package shop
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

for process in inventory payments orders gateway; do
    "$shop" --config "fleet/$process.toml" &
    pids="$pids $!"
done
wait
