"""The drift matrix, as tests. `python -m tests.drift` prints it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from tap_sequence.simulator.drift import DRIFTS
from tests.drift import ROWS, Result, Row, main, run_matrix, run_row
from tests.faults import launch_process

NAMES = [row.name for row in ROWS]


@pytest.fixture(scope="module")
def results(selected: Callable[[str], set[str]]) -> Mapping[str, Result]:
    """The rows, run several at a time."""
    rows = [row for row in ROWS if row.name in selected("name")]
    return {result.row.name: result for result in run_matrix(rows)}


def test_rows_have_unique_names_and_cover_every_kind_of_difference() -> None:
    assert len(set(NAMES)) == len(NAMES)
    tried = {drift.name for row in ROWS for drift in row.drift}
    # A row may try a kind of value in every field at once.
    fields = {
        name
        for name in DRIFTS
        if name.endswith(("-null", "-absent", "-number", "-boolean", "-text", "-list", "-object"))
    }
    assert set(DRIFTS) - tried <= fields


@pytest.mark.sample(6)
@pytest.mark.timeout(900)  # The first waits for all to be run.
@pytest.mark.parametrize("name", NAMES)
def test_difference_loses_and_repeats_no_log_and_stops_no_pipeline(
    name: str, results: Mapping[str, Result]
) -> None:
    result = results[name]
    assert not result.problems, result.stderr


@pytest.mark.long
@pytest.mark.parametrize("name", ["several at once", "id-absent, invalid_logs fail"])
def test_difference_in_new_processes_has_the_same_result(name: str) -> None:
    (row,) = (row for row in ROWS if row.name == name)
    result = run_row(row, launch_process)
    assert not result.problems, result.stderr


@pytest.mark.long
def test_matrix_with_a_row_that_breaks_the_contract_reports_it() -> None:
    rows = [
        Row("ends early unexpectedly", ["list-ends-early"]),
        Row("fails unexpectedly not", statuses=(1, 0, 0), words=["no such word"]),
    ]
    results = run_matrix(rows)
    assert all(result.problems for result in results)
    assert results[0].lost > 0


@pytest.mark.long
def test_table_has_a_line_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "as documented", "--template"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1].split()[:8] == ["as", "documented", "0", "0", "0", "770", "0", "0"]
    assert out[-1] == "SDK template: delivered at exit 0 in 2 of 2"
