"""`python -m tap_sequence.simulator`: the simulator alone, so that any tool can be tried against it."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from tap_sequence.simulator import (
    DEMO_CREDENTIALS,
    CursorKind,
    Drift,
    EndOfList,
    Fault,
    LogIds,
    Options,
    RetryAfter,
    SimulatedApi,
    Simulator,
    UnknownCursor,
)
from tap_sequence.simulator.drift import DEFAULT_EVERY, describe_names

_T = TypeVar("_T")


def _read_with(parse: Callable[[str], _T]) -> Callable[[str], _T]:
    """Return an argument type that calls `parse` and shows the text of its ValueError."""

    def read(text: str) -> _T:
        try:
            return parse(text)
        except ValueError as error:
            # The only error whose text argparse shows.
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults, and leaves line breaks as they are."""


def _parser() -> argparse.ArgumentParser:
    defaults = Options(unknown_cursor=UnknownCursor.RIGHT_PAGE)  # as in the demo
    parser = argparse.ArgumentParser(
        prog="python -m tap_sequence.simulator",
        description="Serve a simulated Sequence account on http://127.0.0.1:PORT/api until interrupted.",
        epilog=f"names for --drift:\n{describe_names()}",
        formatter_class=_HelpFormatter,
    )
    parser.add_argument("--port", type=int, default=8080, help="port to listen on; 0 chooses a free one")
    parser.add_argument("--client-id", default=DEMO_CREDENTIALS[0], help="client id to accept")
    parser.add_argument("--client-secret", default=DEMO_CREDENTIALS[1], help="client secret to accept")
    parser.add_argument(
        "--logs",
        type=int,
        help="serve exactly this many logs; without it, one every few seconds up to now",
    )
    parser.add_argument("--seed", type=int, default=defaults.seed, help="seed of the generated logs")
    for option, kind, help_text in (
        ("cursor_kind", CursorKind, "what cursors are made of"),
        ("end_of_list", EndOfList, "what pagination.after is on the last page"),
        ("unknown_cursor", UnknownCursor, "how a cursor is handled that was never issued"),
        ("log_ids", LogIds, "version of the logs' UUIDs"),
        ("retry_after", RetryAfter, "form of Retry-After in a 429"),
    ):
        parser.add_argument(
            "--" + option.replace("_", "-"),
            type=kind,
            choices=list(kind),
            default=getattr(defaults, option),
            help=help_text,
        )
    parser.add_argument("--no-total", action="store_true", help="omit totalResultSize")
    parser.add_argument(
        "--latency",
        type=float,
        nargs=2,
        default=defaults.latency,
        metavar=("FROM", "TO"),
        help="shortest and longest delay of a response, in seconds",
    )
    parser.add_argument("--rate-limit", type=int, help="requests allowed in a window; the next one gets 429")
    parser.add_argument("--rate-window", type=float, default=defaults.rate_window, help="seconds in a window")
    parser.add_argument(
        "--retry-after-seconds",
        type=int,
        help="value of Retry-After; without it, until the window has room again",
    )
    parser.add_argument(
        "--fault",
        action="append",
        type=_read_with(Fault.parse),
        default=[],
        metavar="REQUESTS=FAULT",
        help="such as 3=500, 2-4=429:1, 5-=html; may be repeated",
    )
    parser.add_argument(
        "--drift",
        action="append",
        type=_read_with(Drift.parse),
        default=[],
        metavar="NAME[:EVERY]",
        help="differ from the documentation, such as actor-null or unknown-field:1; a difference in logs changes one in "
        f"EVERY ({DEFAULT_EVERY}); may be repeated; the names are listed below",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the simulator until it is interrupted or terminated."""
    given = _parser().parse_args(arguments)
    options = Options(
        seed=given.seed,
        cursor_kind=given.cursor_kind,
        end_of_list=given.end_of_list,
        unknown_cursor=given.unknown_cursor,
        log_ids=given.log_ids,
        with_total=not given.no_total,
        latency=tuple(given.latency),
        rate_limit=given.rate_limit,
        rate_window=given.rate_window,
        retry_after=given.retry_after,
        retry_after_seconds=given.retry_after_seconds,
        faults=given.fault,
        drift=given.drift,
    )
    credentials = (given.client_id, given.client_secret)
    if given.logs is None:
        api = SimulatedApi.demo(options, credentials=credentials)
    else:
        api = SimulatedApi(options, credentials=credentials)
        api.store.grow(given.logs)
    try:
        simulator = Simulator(api, port=given.port)
    except (OSError, OverflowError) as error:
        sys.exit(f"Cannot listen on port {given.port} ({error}); --port 0 chooses a free one.")
    stopped = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: stopped.set())
    with simulator:
        sys.stdout.write(
            f"Sequence simulator on {simulator.base_url}, client id {given.client_id}, client secret "
            f"{given.client_secret} (Ctrl+C stops it)\n"
        )
        sys.stdout.flush()
        stopped.wait()


if __name__ == "__main__":
    main()
