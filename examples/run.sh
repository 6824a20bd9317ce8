#!/usr/bin/env bash
# Load the logs that are new since the last run: tap-sequence | TARGET, with the state in FOLDER/state.json.
#
#   examples/run.sh FOLDER TARGET [ARGUMENT...]
#
# The tap's settings come from the environment. TARGET runs in FOLDER and does not see them.
#
# Exit status: 0 if both tap and target exited with 0. Otherwise the target's status or, if that is 0, the tap's (143 after
# SIGTERM). 75 if another run is active in FOLDER.
set -euo pipefail

[ $# -ge 2 ] || { echo "usage: $0 FOLDER TARGET [ARGUMENT...]" >&2; exit 64; }
mkdir -p "$1"
cd "$1"
shift
# `uv tool install` puts commands here, which is not in cron's PATH. A container or a systemd unit may have no HOME.
PATH="${HOME:+$HOME/.local/bin:}$PATH"

# Tap and target inherit the lock, so that no other run starts before they have exited, even if this script is killed.
exec 9>lock
flock --nonblock 9 || { echo "$0: another run has $PWD" >&2; exit 75; }

# Print the last complete state in a target's output. A state is a JSON object whose first key is "bookmarks", on one line or
# several. Ignore everything else that a target may print: {}, log lines (JSON or not), a truncated state.
last_state() {
  awk '
    /^\{/ { text = ""; depth = 0; inside = 1 }
    !inside { next }
    {
      text = text $0 "\n"
      rest = $0
      gsub(/"([^"\\]|\\.)*"/, "", rest)
      depth += gsub(/[{[]/, "", rest) - gsub(/[]}]/, "", rest)
      inside = depth > 0 && rest !~ /"/
    }
    depth == 0 && rest !~ /"/ && text ~ /^\{[ \t\r\n]*"bookmarks"[ \t\r\n]*:/ { state = text }
    END { printf "%s", state }
  ' "$1"
}

# Save the last state that the target printed for the next run.
keep_state() {
  [ -e printed ] || return 0
  last_state printed >state.new
  if [ -s state.new ]; then
    # Flush the records to disk before the state that describes them, and the state before it is renamed.
    sync --file-system .
    mv state.new state.json
  fi
  rm -f printed state.new
}

# Wait for a process, and wait again after a signal: the target still has to print its state.
wait_for() {
  local status
  while :; do
    signalled=
    status=0
    wait "$1" || status=$?
    [ -n "$signalled" ] || return "$status"
  done
}

# Save the state of a previous run that was killed, and remove its pipe.
keep_state
rm -f pipe
mkfifo pipe

state=()
[ ! -e state.json ] || state=(--state state.json)
tap-sequence --config=ENV "${state[@]}" >pipe &
tap=$!
# Run the target in its own session: a signal then stops only the tap, and the target loads what the tap has written.
(unset "${!TAP_SEQUENCE_@}" && exec setsid "$@") <pipe >printed &
target=$!
trap 'signalled=1; kill -TERM "$tap" 2>/dev/null || :' TERM INT HUP

tap_status=0 target_status=0
wait_for "$tap" || tap_status=$?
wait_for "$target" || target_status=$?
keep_state
rm pipe
[ "$tap_status$target_status" = 00 ] || echo "$0: tap-sequence ended with $tap_status, $1 with $target_status" >&2
exit $((target_status ? target_status : tap_status))
