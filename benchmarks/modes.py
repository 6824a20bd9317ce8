"""The modes, each of which prints a table."""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.contenders import FRONTS, PREFETCHING, SEQUENTIAL, TEMPLATE, Contender
from benchmarks.measure import ITEMS, LOGS, ContenderError, Measurement, measure, run
from benchmarks.stand_in import StandIn
from benchmarks.table import ratio, render
from tap_sequence.simulator import CursorKind, Drift, Options, UnknownCursor
from tap_sequence.singer.tap import SequenceTap

_MICROSECONDS = 1_000_000
_MIB = 2**20
_PAGE_SIZE = 100
_SMALL_PART = 25
"""What of the logs the smaller of the lists has whose memory is measured."""

HONOURED = Options(unknown_cursor=UnknownCursor.RIGHT_PAGE)
"""Guesses at cursors are honoured, so that prefetching holds as much as it ever does."""

NO_PACE = {"requests_per_minute": 60_000}
"""As good as none: what is measured without latency is the work, not the pace."""

_DOCUMENTED = "as documented"
DRIFTS: Mapping[str, Sequence[Drift]] = {
    _DOCUMENTED: (),
    "an unknown field in each log": (Drift("unknown-field", 1),),
    "a null in each log": (Drift("summary-null", 1),),
    "an actor null in one log of five": (Drift("actor-null", 5),),
}
"""How pages differ from the documentation, by the words of the table."""

NETWORK = Options(
    latency=(0.1, 0.14),
    rate_limit=50,
    rate_window=2.0,
    retry_after_seconds=1,
    unknown_cursor=UnknownCursor.RIGHT_PAGE,
)
NETWORK_PACE = {"requests_per_minute": 1450}
_CEILING = 50 / 2.0 * _PAGE_SIZE
"""Logs a second that the network's limit lets through."""


@dataclass(slots=True)
class Bench:
    """Options and results that all modes share.

    Attributes:
        contenders: Who is measured.
        logs: How many logs there are, or None for as many as suit the mode.
        repeat: How often, or None for as often as suits the mode.
        is_quick: Whether sizes are small.
        results: Every run's figures.
        problems: What is wrong beside a contender's own failure.
    """

    contenders: Sequence[Contender]
    logs: int | None = None
    repeat: int | None = None
    is_quick: bool = False
    results: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def choose_logs(self, full: int, quick: int) -> int:
        """Return how many logs there are to be."""
        return self.logs or (quick if self.is_quick else full)

    def choose_repeat(self, full: int, quick: int = 1) -> int:
        """Return how often to measure."""
        return self.repeat or (quick if self.is_quick else full)

    def measure(self, mode: str, contender: Contender, stand_in: StandIn, **options: Any) -> Measurement:
        """Measure one contender and keep its figures."""
        sys.stderr.write(f"{mode}: {contender.name}, {stand_in.logs} logs\n")
        found = measure(contender, stand_in, **options)
        self.results.append(
            {
                "mode": mode,
                "contender": found.contender,
                **dataclasses.asdict(found.cost),
                "logs": found.output.logs,
                "lines": found.output.lines,
                **dataclasses.asdict(found.traffic),
            }
        )
        return found


def no_latency(bench: Bench) -> str:
    """Read a list without latency: the cost of the work itself."""
    return _work(bench, "no-latency", "No latency: {logs:,} logs", bench.contenders)


def fronts(bench: Bench) -> str:
    """Read the same list through each front of this project, whatever --only says."""
    return _work(bench, "fronts", "Fronts: {logs:,} logs, no latency", FRONTS)


def _work(bench: Bench, mode: str, title: str, contenders: Sequence[Contender]) -> str:
    logs, repeat = bench.choose_logs(100_000, 1_000), bench.choose_repeat(3)
    found: dict[str, list[Measurement]] = defaultdict(list)
    with StandIn(logs) as stand_in:
        for _ in range(repeat):
            for contender in contenders:
                stand_in.behave(HONOURED)
                found[contender.name].append(bench.measure(mode, contender, stand_in, settings=NO_PACE))
    seconds = {name: _median(runs, lambda run: run.cost.seconds) for name, runs in found.items()}
    cpu = {name: _median(runs, lambda run: run.cost.cpu_seconds) for name, runs in found.items()}
    base = _base(seconds)
    rows = [
        (
            name,
            f"{seconds[name]:.2f}",
            f"{logs / seconds[name]:,.0f}",
            ratio(seconds[base], seconds[name]),
            f"{cpu[name] / logs * _MICROSECONDS:.1f}",
            ratio(cpu[name], cpu[base]),
            str(runs[0].traffic.requests),
        )
        for name, runs in found.items()
    ]
    return render(
        f"{title.format(logs=logs)}, median of {repeat}, ratios to {base}",
        ("contender", "seconds", "logs/s", "speed ratio", "CPU us/log", "CPU ratio", "requests"),
        rows,
    )


def drift(bench: Bench) -> str:
    """Read pages that differ from the documentation in each log: what setting a value aside costs."""
    logs, repeat = bench.choose_logs(20_000, 1_000), bench.choose_repeat(3)
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    with StandIn(1) as nearly_empty, StandIn(logs) as stand_in:
        for _ in range(repeat):
            for contender in bench.contenders:
                # The start is the same for all pages, and would make every ratio smaller than it is.
                start = bench.measure("drift, start", contender, nearly_empty, settings=NO_PACE)
                for pages, drifts in DRIFTS.items():
                    stand_in.behave(dataclasses.replace(HONOURED, drift=drifts))
                    run = bench.measure(f"drift, {pages}", contender, stand_in, settings=NO_PACE)
                    seconds = run.cost.cpu_seconds - start.cost.cpu_seconds
                    found[contender.name, pages].append(seconds / logs * _MICROSECONDS)
    cpu = {key: statistics.median(figures) for key, figures in found.items()}
    base = _base([contender.name for contender in bench.contenders])
    rows = [
        (name, pages, f"{figure:.1f}", ratio(figure, cpu[name, _DOCUMENTED]), ratio(figure, cpu[base, pages]))
        for (name, pages), figure in cpu.items()
    ]
    return render(
        f"Drift: {logs:,} logs, no latency, without the start, median of {repeat}",
        ("contender", "pages", "CPU us/log", f"to {_DOCUMENTED}", f"to {base}"),
        rows,
    )


def network(bench: Bench) -> str:
    """Read a list behind a network and a limit, with each kind of cursor and each answer to a guess at one."""
    logs, repeat = bench.choose_logs(100_000, 1_000), bench.choose_repeat(1)
    taps = [contender for contender in bench.contenders if contender.is_tap]
    ahead = [contender for contender in taps if contender.name == PREFETCHING]
    failures = (
        UnknownCursor.REFUSE,
        UnknownCursor.FIRST_PAGE,
        UnknownCursor.EMPTY_PAGE,
        UnknownCursor.ELSEWHERE,
    )
    by_id = [(NETWORK, bench.contenders)]
    by_id += [(dataclasses.replace(NETWORK, unknown_cursor=unknown), ahead) for unknown in failures]
    opaque = dataclasses.replace(NETWORK, cursor_kind=CursorKind.OPAQUE, unknown_cursor=UnknownCursor.REFUSE)
    rows: list[tuple[str, ...]] = []
    for cases in (by_id, [(opaque, taps)]):
        with StandIn(logs, cases[0][0]) as stand_in:
            rows += _network_rows(bench, stand_in, cases, repeat)
    return render(
        f"Network: {logs:,} logs, latency 100 to 140 ms, 50 requests in 2 s, median of {repeat}",
        (
            "contender",
            "cursors",
            "a guess gets",
            "seconds",
            "logs/s",
            "to sequential",
            f"of {_CEILING:,.0f} logs/s",
            "requests",
            "refused",
            "lines as sequential",
        ),
        rows,
    )


def _network_rows(
    bench: Bench,
    stand_in: StandIn,
    cases: Sequence[tuple[Options, Sequence[Contender]]],
    repeat: int,
) -> list[tuple[str, ...]]:
    found: dict[tuple[str, Options], list[Measurement]] = defaultdict(list)
    for _ in range(repeat):
        for options, contenders in cases:
            for contender in contenders:
                stand_in.behave(options)
                found[contender.name, options].append(
                    bench.measure(
                        f"network, {options.cursor_kind}, {options.unknown_cursor}",
                        contender,
                        stand_in,
                        settings=NETWORK_PACE,
                        digest_lines=contender.is_tap,
                    )
                )
    sequential = found.get((SEQUENTIAL, cases[0][0]), [])
    base = _median(sequential, lambda run: run.cost.seconds) if sequential else 0.0
    rows: list[tuple[str, ...]] = []
    for (name, options), runs in found.items():
        seconds = _median(runs, lambda run: run.cost.seconds)
        requests = _median(runs, lambda run: run.traffic.requests)
        refused = _median(runs, lambda run: run.traffic.refused)
        same = "-"
        if sequential and name == PREFETCHING:
            is_same = {run.output.lines for run in runs} == {run.output.lines for run in sequential}
            same = "yes" if is_same else "NO"
            if not is_same:
                bench.problems.append(
                    f"{name} wrote other lines than {SEQUENTIAL} ({options.cursor_kind}, {options.unknown_cursor})."
                )
        rows.append(
            (
                name,
                str(options.cursor_kind),
                str(options.unknown_cursor),
                f"{seconds:.1f}",
                f"{stand_in.logs / seconds:,.0f}",
                ratio(base, seconds) if base else "-",
                f"{stand_in.logs / seconds / _CEILING:.1%}",
                f"{requests:.0f}",
                f"{refused:.0f} ({refused / requests:.1%})",
                same,
            )
        )
    return rows


def memory(bench: Bench) -> str:
    """Read a short list and a long one: the most memory that it takes."""
    logs = bench.choose_logs(500_000, 2_000)
    found = []
    for count, contenders in (
        (max(1, logs // _SMALL_PART), bench.contenders),
        (logs, [contender for contender in bench.contenders if contender.is_tap]),
    ):
        with StandIn(count) as stand_in:
            for contender in contenders:
                stand_in.behave(HONOURED)
                found.append((count, bench.measure("memory", contender, stand_in, settings=NO_PACE)))
    peaks = {(run.contender, count): run.cost.peak_bytes / _MIB for count, run in found}
    small_logs = found[0][0]
    base = _base([contender.name for contender in bench.contenders])
    small = peaks[base, small_logs]
    rows = [(name, f"{count:,}", f"{peak:.1f}", ratio(peak, small)) for (name, count), peak in peaks.items()]
    return render(
        f"Memory: peak of resident memory, ratios to {base} with {small_logs:,} logs",
        ("contender", "logs", "MiB", "ratio"),
        rows,
    )


def start_up(bench: Bench) -> str:
    """Start and say what streams there are, beside the import of the SDK alone."""
    repeat = bench.choose_repeat(20, 2)
    base = "import singer_sdk"
    seconds: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        config = folder / "config.json"
        # Nothing is asked of this address.
        config.write_text(
            '{"api_url": "http://127.0.0.1:9", "client_id": "x", "client_secret": "x"}', encoding="utf-8"
        )
        commands = {base: [sys.executable, "-c", base]}
        for contender in bench.contenders:
            if contender.name in {SEQUENTIAL, TEMPLATE}:
                label = f"{'tap' if contender.is_tap else contender.name} --discover"
                commands[label] = [
                    contender.python, "-m", contender.module, "--config", str(config), "--discover"
                ]  # fmt: skip
        for _ in range(repeat):
            for label, command in commands.items():
                seconds[label].append(run(command, folder).seconds)
    medians = {label: statistics.median(times) for label, times in seconds.items()}
    bench.results += [
        {"mode": "start-up", "contender": label, "seconds": times} for label, times in seconds.items()
    ]
    return render(
        f"Start-up: medians of {repeat} alternating runs, ratios to {base}",
        ("command", "seconds", "ratio"),
        [(label, f"{median:.3f}", ratio(median, medians[base])) for label, median in medians.items()],
    )


def incremental(bench: Bench) -> str:
    """Run again where nothing is new, with the state of a run before."""
    logs, repeat = bench.choose_logs(20_000, 1_000), bench.choose_repeat(3)
    rows = []
    with StandIn(logs) as stand_in:
        for contender in bench.contenders:
            if not contender.is_singer:
                continue
            stand_in.behave(Options())
            state = bench.measure("incremental, full", contender, stand_in, settings=NO_PACE).output.state
            if state is None:
                msg = f"{contender.name} wrote no state."
                raise ContenderError(msg)
            runs = []
            for _ in range(repeat):
                stand_in.behave(Options())
                runs.append(bench.measure("incremental", contender, stand_in, settings=NO_PACE, state=state))
            if contender.is_tap and any(run.output.logs for run in runs):
                msg = f"{contender.name} wrote logs again."
                raise ContenderError(msg)
            rows.append(
                (
                    contender.name,
                    f"{_median(runs, lambda run: run.cost.seconds):.2f}",
                    f"{_median(runs, lambda run: run.traffic.requests):.0f}",
                    f"{_median(runs, lambda run: run.output.logs):,.0f}",
                )
            )
    return render(
        f"Incremental: nothing new behind {logs:,} logs, median of {repeat}",
        ("contender", "seconds", "requests", "logs written again"),
        rows,
    )


def streams(bench: Bench) -> str:
    """Read the logs, their items as rows, and both, from a list that answers at once."""
    logs, repeat = bench.choose_logs(100_000, 1_000), bench.choose_repeat(3)
    # The faster of the two: where the requests are waited for, the work does not show.
    *_, tap = (contender for contender in bench.contenders if contender.is_tap)
    found: dict[tuple[str, ...], list[Measurement]] = defaultdict(list)
    with StandIn(logs) as stand_in:
        for _ in range(repeat):
            for selected in ((LOGS,), (ITEMS,), (LOGS, ITEMS)):
                stand_in.behave(HONOURED)
                found[selected].append(
                    bench.measure("streams", tap, stand_in, settings=NO_PACE, catalog=_catalog(selected))
                )
    seconds = {selected: _median(runs, lambda run: run.cost.seconds) for selected, runs in found.items()}
    if {
        run.output.records.get(ITEMS) for selected, runs in found.items() if ITEMS in selected for run in runs
    } != {found[LOGS, ITEMS][0].output.records.get(ITEMS, 0)}:
        bench.problems.append(f"{ITEMS} alone and beside {LOGS} did not give the same number of rows.")
    rows = [
        (
            " and ".join(selected),
            f"{_median(runs, lambda run: run.cost.seconds):.2f}",
            f"{logs / seconds[selected]:,.0f}",
            ratio(seconds[LOGS,], seconds[selected]),
            f"{sum(runs[0].output.records.values()):,}",
            str(runs[0].traffic.requests),
        )
        for selected, runs in found.items()
    ]
    return render(
        f"Streams: {logs:,} logs, no latency, median of {repeat}, ratios to {LOGS} alone ({tap.name})",
        ("selected", "seconds", "logs/s", "speed ratio", "records", "requests"),
        rows,
    )


def _catalog(selected: Collection[str]) -> dict[str, Any]:
    catalog: dict[str, Any] = json.loads(SequenceTap(config={"environment": "demo"}).catalog_json_text)
    for stream in catalog["streams"]:
        for entry in stream["metadata"]:
            if not entry["breadcrumb"]:
                entry["metadata"]["selected"] = stream["tap_stream_id"] in selected
    return catalog


MODES: Mapping[str, Callable[[Bench], str]] = {
    "no-latency": no_latency,
    "fronts": fronts,
    "drift": drift,
    "network": network,
    "memory": memory,
    "start-up": start_up,
    "incremental": incremental,
    "streams": streams,
}


def _median(runs: Sequence[Measurement], figure: Callable[[Measurement], float]) -> float:
    return statistics.median(figure(run) for run in runs)


def _base(names: Collection[str]) -> str:
    """Return whom ratios are to: the template, or where it is left out, the first."""
    return TEMPLATE if TEMPLATE in names else next(iter(names))
