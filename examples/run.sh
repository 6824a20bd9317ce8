#!/usr/bin/env bash
# Loads what is new since the last run: tap-sequence | TARGET, with the state in FOLDER/state.json.
#
#   examples/run.sh FOLDER TARGET [ARGUMENT...]
#
# The tap's settings come from the environment. TARGET runs in FOLDER and does not see them. The exit status is 0 only if
# both ended with 0. It is the target's, else the tap's (143 after SIGTERM), or 75 if another run has FOLDER.
set -euo pipefail

[ $# -ge 2 ] || { echo "usage: $0 FOLDER TARGET [ARGUMENT...]" >&2; exit 64; }
mkdir -p "$1"
cd "$1"
shift
# Where `uv tool install` puts commands; cron does not look there.
PATH="$HOME/.local/bin:$PATH"

# Tap and target hold the lock too: should this script be killed, the next run waits its turn until they have ended.
exec 9>lock
flock --nonblock 9 || { echo "$0: another run has $PWD" >&2; exit 75; }

# Prints the last whole state in a target's output. A state is a JSON object whose first key is "bookmarks", on one line or
# several. Anything else that a target prints is not a state: {}, log lines (JSON or not), a state that was cut off.
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

# Makes the last state that the target printed the one that the next run starts with.
keep_state() {
  [ -e printed ] || return 0
  last_state printed >state.new
  if [ -s state.new ]; then
    # Records reach the disk before the state that describes them, and the state before it is given its name.
    sync --file-system .
    mv state.new state.json
  fi
  rm -f printed state.new
}

# A wait that a signal interrupts goes on: the target still has to print its state.
wait_for() {
  local status
  while :; do
    signalled=
    status=0
    wait "$1" || status=$?
    [ -n "$signalled" ] || return "$status"
  done
}

# What a run left behind that was killed.
keep_state
rm -f pipe
mkfifo pipe

state=()
[ ! -e state.json ] || state=(--state state.json)
tap-sequence --config=ENV "${state[@]}" >pipe &
tap=$!
# A session of its own: what is meant to stop the run stops the tap, and the target loads what the tap has written.
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
