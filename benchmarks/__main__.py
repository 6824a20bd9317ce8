"""`python -m benchmarks` compares the tap with others, as tables with ratios."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contenders import find_contenders
from benchmarks.measure import ContenderError, measure
from benchmarks.modes import MODES, NO_PACE, Bench
from benchmarks.stand_in import StandIn
from benchmarks.table import describe_machine

_DESCRIPTION = """\
Measure the tap beside a tap made from the SDK's template, a bare loop, and, where they are installed, dlt and
airbyte-cdk. All read the same simulated API over loopback, 100 logs a page, each in a process of its own, and each has
to write exactly the logs that there are.
"""
_MODES = "\n".join(f"  {name:12}{mode.__doc__}" for name, mode in MODES.items())


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        msg = f"{text} is not a number above 0"
        raise argparse.ArgumentTypeError(msg)
    return number


def _interpreter(text: str) -> str:
    found = shutil.which(text)
    if found is None:
        msg = f"{text} is no program"
        raise argparse.ArgumentTypeError(msg)
    # Not resolved: a virtual environment's own is a link to another.
    return str(Path(found).absolute())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=_DESCRIPTION,
        epilog=f"modes:\n{_MODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("modes", nargs="+", choices=[*MODES, "all"], metavar="MODE", help="what to measure")
    parser.add_argument("--logs", type=_positive, help="logs in the list (memory: in the longer of two)")
    parser.add_argument("--repeat", type=_positive, help="runs of each, alternating; medians are shown")
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it works")
    parser.add_argument("--only", action="append", metavar="NAME", help="a contender; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run's figures into a file")
    parser.add_argument(
        "--peers-python",
        type=_interpreter,
        default=sys.executable,
        metavar="PYTHON",
        help="interpreter that has dlt and airbyte-cdk (default: this one)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print tables."""
    parser = _parser()
    given = parser.parse_args(arguments)
    field = find_contenders(given.peers_python)
    names = [contender.name for contender in field.contenders]
    if unknown := set(given.only or ()) - set(names):
        parser.error(f"--only takes {', '.join(names)}; not {', '.join(sorted(unknown))}")
    contenders = [contender for contender in field.contenders if contender.name in (given.only or names)]
    print("# Benchmarks\n")
    print(describe_machine(field.versions))
    for line in field.absent:
        print(f"Left out: {line}")
    print(flush=True)
    bench = Bench(contenders, given.logs, given.repeat, is_quick=given.quick)
    try:
        if not given.quick:
            # Nobody's first run is to pay for compiling.
            with StandIn(1) as stand_in:
                for contender in contenders:
                    measure(contender, stand_in, NO_PACE)
        for name in MODES if "all" in given.modes else dict.fromkeys(given.modes):
            print(MODES[name](bench), flush=True)
    except ContenderError as error:
        sys.exit(str(error))
    finally:
        if given.json:
            content = {"versions": field.versions, "runs": bench.results}
            given.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if bench.problems:
        sys.exit("\n".join(bench.problems))


if __name__ == "__main__":
    main()
