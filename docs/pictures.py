"""Draws docs/pictures/*.svg from real runs: `uv run --group pictures python -m docs.pictures`.

The progress bar is what the tap shows on a terminal of 100 columns in the middle of a run; the table is the answer of
DuckDB to the query in README.md, over the records of the demo account. The pictures load nothing from anywhere.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyte
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tap_sequence.simulator import DEMO_CREDENTIALS, Options, SimulatedApi, Simulator, UnknownCursor
from tests.support.harness import ROOT, TAP, environment
from tests.support.pages import blocks
from tests.support.terminal import COLUMNS, screens

FOLDER = Path(__file__).parent / "pictures"

LOGS = 40_000
LATENCY = (0.15, 0.25)
SHARE = 0.6
"""Of the run's logs: how far the run is on the picture of the bar."""

# That of rich, without the fonts that it loads from a host.
SVG = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width;
}}
.{unique_id}-title {{ font-family: ui-sans-serif, system-ui, sans-serif; font-size: 18px; font-weight: bold; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def lines_of(screen: pyte.Screen) -> list[Text]:
    """Return what a terminal's screen shows, without the empty lines at its end."""
    lines = []
    for row in range(screen.lines):
        line = Text()
        for column in range(screen.columns):
            cell = screen.buffer[row][column]
            line.append(cell.data, ("bold " if cell.bold else "") + _COLOURS.get(cell.fg, cell.fg))
        line.rstrip()
        lines.append(line)
    while lines and not lines[-1]:
        lines.pop()
    return lines


_COLOURS = {"default": "default", "brown": "yellow", "brightblack": "bright_black"}


def draw(name: str, title: str, content: Sequence[Text | Table], columns: int = COLUMNS) -> Path:
    """Draw what a terminal shows into a file."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(
            record=True, width=columns, file=nowhere, force_terminal=True, color_system="truecolor"
        )
        for part in content:
            console.print(part)
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.svg"
    svg = console.export_svg(title=title, code_format=SVG, unique_id=name)
    path.write_text(
        "\n".join(line.rstrip() for line in svg.splitlines() if line.strip()) + "\n", encoding="utf-8"
    )
    return path


def _typed(command: str) -> Text:
    return Text.assemble(("$ ", "green"), (command, "bold"))


def draw_progress(command: Sequence[str] = TAP) -> Path:
    """Draw a run's screen in the middle of it."""
    client_id, client_secret = DEMO_CREDENTIALS
    api = SimulatedApi(Options(latency=LATENCY, unknown_cursor=UnknownCursor.RIGHT_PAGE))
    api.store.grow(LOGS)
    with tempfile.TemporaryDirectory() as name, Simulator(api) as simulator:
        folder = Path(name)
        config = {
            "api_url": simulator.base_url,
            "client_id": client_id,
            "client_secret": client_secret,
        }
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        output = folder / "logs.jsonl"
        # Long log lines would fill the picture.
        env = environment(TAP_SEQUENCE_LOGLEVEL="warning", TERM="xterm")
        shown: list[Text] = []
        for screen in screens([*command, "--config", "config.json"], stdout=output, env=env, cwd=folder):
            lines = lines_of(screen)
            # Only what shows how far it is, and not after the point that the picture is to show.
            if lines and "%" in lines[-1].plain and _lines_in(output) <= SHARE * LOGS:
                shown = lines
    if not shown:
        sys.exit("No progress bar was seen.")
    return draw(
        "progress",
        "tap-sequence",
        [_typed("TAP_SEQUENCE_LOGLEVEL=warning tap-sequence --config config.json > logs.jsonl"), *shown],
    )


def _lines_in(path: Path) -> int:
    with path.open("rb") as lines:
        return sum(1 for _ in lines)


def draw_answer() -> Path:
    """Draw the answer to the query in README.md."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.json").write_text('{"environment": "demo"}', encoding="utf-8")
        done = subprocess.run([*TAP, "--config", "config.json"], cwd=folder, capture_output=True, check=True)
        messages = [json.loads(line) for line in done.stdout.splitlines()]
        # As target-jsonl writes it.
        loaded = folder / "output" / "demo" / "activity_logs.jsonl"
        loaded.parent.mkdir(parents=True)
        records = [
            message["record"]
            for message in messages
            if message["type"] == "RECORD" and message["stream"] == "activity_logs"
        ]
        loaded.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        with duckdb.connect() as database:
            database.execute("SET file_search_path = ?", [str(folder)])
            (query,) = blocks(ROOT / "README.md", "sql")
            answer = database.execute(query.text)
            names = [column[0] for column in answer.description or []]
            rows = answer.fetchall()
    table = Table(*names, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[1:3]:
        column.justify = "right"
    for row in rows:
        table.add_row(
            *(f"{value:%Y-%m-%d %H:%M}" if hasattr(value, "strftime") else str(value) for value in row)
        )
    return draw("answer", "DuckDB", [table], columns=80)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the pictures that are named, or all."""
    pictures = {"progress": draw_progress, "answer": draw_answer}
    parser = argparse.ArgumentParser(
        prog="python -m docs.pictures", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "names", nargs="*", choices=[*pictures, []], metavar="NAME", help=f"of {', '.join(pictures)}"
    )
    for name in parser.parse_args(arguments).names or pictures:
        sys.stdout.write(f"{pictures[name]()}\n")


if __name__ == "__main__":
    main()
