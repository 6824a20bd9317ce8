"""A simulator of Sequence's activity log API, over real HTTP on loopback.

`environment: demo` reads from it, and `python -m tap_sequence.simulator` runs it alone, so that any tool can be tried
against it.
"""

from tap_sequence.simulator.api import DEMO_CREDENTIALS, ReceivedRequest, SimulatedApi
from tap_sequence.simulator.cursors import CursorKind
from tap_sequence.simulator.drift import Drift
from tap_sequence.simulator.faults import Fault
from tap_sequence.simulator.logs import LogIds
from tap_sequence.simulator.options import EndOfList, Options, RetryAfter, UnknownCursor
from tap_sequence.simulator.server import Simulator
from tap_sequence.simulator.store import Timeline

__all__ = [
    "DEMO_CREDENTIALS",
    "CursorKind",
    "Drift",
    "EndOfList",
    "Fault",
    "LogIds",
    "Options",
    "ReceivedRequest",
    "RetryAfter",
    "SimulatedApi",
    "Simulator",
    "Timeline",
    "UnknownCursor",
]
