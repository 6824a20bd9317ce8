"""The examples as a user runs them. Installs the tap, target-jsonl, Airflow and Dagster."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from uv import find_uv_bin

from tap_sequence.simulator import Fault, Options, SimulatedApi, Simulator
from tap_sequence.sync.timestamps import parse_timestamp
from tests.support.harness import ROOT, config_for, environment_of_others, free_port, is_listened_on, uv
from tests.support.pages import blocks_in

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

Simulate = Callable[..., Simulator]

EXAMPLES = ROOT / "examples"
REFUSED = 75
PRINTER = ("bash", "-c", "cat >/dev/null; cat to_print")


def _clean_environment(**variables: str) -> dict[str, str]:
    """Return this process's environment without what could reach an example, or was made for the tests."""
    strangers = ("AIRFLOW", "DAGSTER", "SEQUENCE", "TARGET", "UV_TOOL")
    return environment_of_others(*strangers, **variables)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home directory with tap and target installed as the documentation says."""
    home = tmp_path_factory.mktemp("home")
    variables = {"UV_TOOL_DIR": str(home / "tools"), "UV_TOOL_BIN_DIR": str(home / ".local" / "bin")}
    for package in (str(ROOT), "target-jsonl==0.1.4"):
        uv("tool", "install", "--python", sys.executable, package, **variables)
    return home


def _loaded(folder: Path) -> list[str]:
    """Return the ids of all logs in a folder, in the order of the runs that loaded them."""
    lines = [
        line
        for file in sorted(folder.glob("*.jsonl"))
        for line in file.read_text(encoding="utf-8").split("\n")
    ]
    return [json.loads(line)["id"] for line in lines if line]


def _bookmark(folder: Path) -> dict[str, Any]:
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    bookmark: dict[str, Any] = state["bookmarks"]["activity_logs"]
    return bookmark


def _wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@dataclass
class Runner:
    """Runs run.sh for one simulated account."""

    home: Path
    folder: Path
    simulator: Simulator

    def start(self, *target: str, **settings: Any) -> subprocess.Popen[str]:
        variables = {
            f"TAP_SEQUENCE_{name.upper()}": str(value)
            for name, value in config_for(self.simulator, **settings).items()
        }
        return subprocess.Popen(
            [EXAMPLES / "run.sh", self.folder, *(target or ("target-jsonl",))],
            env=_clean_environment(HOME=str(self.home), **variables),
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *target: str, **settings: Any) -> tuple[int, str]:
        """Return the exit status and what was written to standard error."""
        with self.start(*target, **settings) as process:
            _, stderr = process.communicate(timeout=100)
        return process.returncode, stderr

    def target_prints(self, text: str) -> None:
        """Use PRINTER as the target, and let it print a text."""
        (self.folder / "to_print").write_text(text, encoding="utf-8", newline="")

    def wait_for_requests(self, count: int) -> None:
        _wait_until(lambda: len(self.simulator.requests) >= count)

    def is_locked(self) -> bool:
        return (
            subprocess.run(["flock", "--nonblock", self.folder / "lock", "true"], check=False).returncode != 0
        )


@pytest.fixture
def runner(home: Path, tmp_path: Path, simulate: Simulate) -> Callable[..., Runner]:
    def make(logs: int, **options: Any) -> Runner:
        return Runner(home, tmp_path / "account", simulate(logs, **options))

    return make


def test_script_loads_everything_and_in_the_next_run_what_is_new(runner: Callable[..., Runner]) -> None:
    account = runner(250)
    assert account.run()[0] == 0
    assert _loaded(account.folder) == account.simulator.store.ids()
    time.sleep(1)  # target-jsonl names its files by the second
    new = account.simulator.store.grow(30)
    assert account.run()[0] == 0
    assert sorted(_loaded(account.folder)[250:]) == sorted(new)
    assert sorted(file.name for file in account.folder.iterdir() if file.suffix != ".jsonl") == [
        "lock",
        "state.json",
    ]


@pytest.mark.parametrize("unset", [[], ["HOME="]])
def test_script_works_without_home(runner: Callable[..., Runner], unset: list[str]) -> None:
    account = runner(10)
    path = f"{account.home / '.local' / 'bin'}:/usr/bin:/bin"
    variables = [
        f"TAP_SEQUENCE_{name.upper()}={value}" for name, value in config_for(account.simulator).items()
    ]
    command = [str(EXAMPLES / "run.sh"), str(account.folder), "target-jsonl"]
    subprocess.run(["env", "-i", f"PATH={path}", *unset, *variables, *command], check=True, timeout=100)
    assert _loaded(account.folder) == account.simulator.store.ids()


def test_script_started_twice_refuses_the_second_run(runner: Callable[..., Runner]) -> None:
    account = runner(1500, latency=(0.05, 0.05))
    with account.start() as first:
        account.wait_for_requests(2)
        status, stderr = account.run()
        assert status == REFUSED
        assert stderr.rstrip().endswith(f"another run has {account.folder}")
        assert first.poll() is None
        first.communicate(timeout=60)
    assert first.returncode == 0
    assert _loaded(account.folder) == account.simulator.store.ids()


@pytest.mark.parametrize("to_all", [False, True], ids=["the script", "its process group"])
def test_script_on_sigterm_saves_the_state_and_loads_no_log_twice(
    runner: Callable[..., Runner], *, to_all: bool
) -> None:
    account = runner(3000, latency=(0.05, 0.05))
    with account.start() as stopped:
        account.wait_for_requests(6)
        (os.killpg if to_all else os.kill)(stopped.pid, signal.SIGTERM)
        _, stderr = stopped.communicate(timeout=60)
    assert stopped.returncode == 143
    assert stderr.rstrip().endswith("tap-sequence ended with 143, target-jsonl with 0")
    before = _loaded(account.folder)
    assert 0 < len(before) < 3000
    assert _bookmark(account.folder)["recent_ids"][-1] == before[-1]
    assert account.run()[0] == 0
    assert _loaded(account.folder) == account.simulator.store.ids()


def test_script_killed_resumes_after_its_tap_and_target_have_ended(
    runner: Callable[..., Runner],
) -> None:
    account = runner(1500, latency=(0.05, 0.05))
    with account.start() as killed:
        account.wait_for_requests(4)
        killed.kill()
        assert killed.wait(10) == -signal.SIGKILL
        # The tap and the target continue without it, and hold the lock.
        assert account.run()[0] == REFUSED
    _wait_until(lambda: not account.is_locked())
    assert not (account.folder / "state.json").exists()
    account.simulator.api.forget_requests()
    assert account.run()[0] == 0
    assert _loaded(account.folder) == account.simulator.store.ids()
    assert len(account.simulator.requests) <= 2


def _descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(grandchild for child in children for grandchild in _descendants(child))]


def test_script_with_all_processes_killed_loses_nothing(runner: Callable[..., Runner]) -> None:
    account = runner(3000, latency=(0.05, 0.05))
    with account.start() as killed:
        account.wait_for_requests(6)
        for pid in (killed.pid, *_descendants(killed.pid)):
            os.kill(pid, signal.SIGKILL)
    assert 0 < len(_loaded(account.folder)) < 3000
    # They hold the lock until the last of them is gone.
    subprocess.run(["flock", "--timeout=60", account.folder / "lock", "true"], check=True)
    assert account.run()[0] == 0
    # target-jsonl had printed no state yet, and adds to what it wrote.
    assert set(_loaded(account.folder)) == set(account.simulator.store.ids())


def test_script_with_a_failing_tap_keeps_the_state_of_loaded_logs(runner: Callable[..., Runner]) -> None:
    account = runner(2500, faults=[Fault.parse("12-=500")])
    status, stderr = account.run(retry_budget_seconds=0, max_in_flight_requests=1)
    assert status == 1
    assert stderr.rstrip().endswith("tap-sequence ended with 1, target-jsonl with 0")
    assert _loaded(account.folder) == account.simulator.store.ids()[:1100]
    account.simulator.api.options = Options()
    time.sleep(1)
    assert account.run()[0] == 0
    assert _loaded(account.folder) == account.simulator.store.ids()


STATE = {"bookmarks": {"activity_logs": {"query": '} " { \\', "recent_ids": ["a", "b"], "cursor": None}}}
OLDER: dict[str, Any] = {"bookmarks": {}}


@pytest.mark.parametrize(
    ("printed", "state"),
    [
        ("", None),
        (f"{json.dumps(STATE)}\nnot a state\n", STATE),
        (f'{json.dumps(OLDER)}\n{{"bookma', OLDER),
        (f"{json.dumps(OLDER)}\n{json.dumps(STATE)[:-1]}", OLDER),
        (f"{json.dumps(OLDER)}\n{json.dumps(STATE)}", STATE),
        (f"{json.dumps(OLDER)}\n{json.dumps(STATE, indent=2)}\n", STATE),
        (f"{json.dumps(OLDER)}\n{json.dumps(STATE, indent=None, separators=(',', ':'))}\r\n", STATE),
        (f"{json.dumps(STATE)}\n{json.dumps(OLDER, indent=4)[:-1]}\n", STATE),
        (f"{json.dumps(STATE)}\n{{}}\n", STATE),
        (f"{json.dumps(STATE)}\nnull\n[]\n", STATE),
        (f'{json.dumps(STATE)}\n{{"level": "info", "message": "loaded"}}\n', STATE),
        (f'{json.dumps(STATE)}\n{{"level": "info", "state": {json.dumps(OLDER)}}}\n', STATE),
        (f"{json.dumps(STATE)}\n{json.dumps({'message': json.dumps(OLDER)})}\n", STATE),
        (f"{{ opened and never closed\n{json.dumps(STATE, indent=2)}\n{{'so': 'too\n", STATE),
        ("{}\n", None),
        ('{"level": "info"}\n', None),
    ],
)
def test_script_replaces_the_state_only_with_a_complete_one_from_the_target(
    runner: Callable[..., Runner], printed: str, state: dict[str, Any] | None
) -> None:
    account = runner(2)
    file = account.folder / "state.json"
    account.folder.mkdir()
    before: dict[str, Any] = {"bookmarks": {"of": {"the": "run before"}}}
    file.write_text(json.dumps(before), encoding="utf-8")
    account.target_prints(printed)
    assert account.run(*PRINTER)[0] == 0
    assert json.loads(file.read_text(encoding="utf-8")) == (state or before)
    assert not {"printed", "state.new"} & {each.name for each in account.folder.iterdir()}


def test_script_with_many_states_keeps_the_last(runner: Callable[..., Runner]) -> None:
    account = runner(2)
    account.folder.mkdir()
    big = {"bookmarks": {"activity_logs": {"recent_ids": [f"{number:036}" for number in range(10_000)]}}}
    lines = [json.dumps({"bookmarks": {"activity_logs": {"number": number}}}) for number in range(1000)]
    account.target_prints("\n".join([*lines, *[json.dumps(big)] * 20, json.dumps(STATE), ""]))
    assert account.run(*PRINTER)[0] == 0
    assert json.loads((account.folder / "state.json").read_text(encoding="utf-8")) == STATE


@pytest.mark.parametrize(
    ("script", "state"),
    [
        ("exit 7", None),
        ("cat >/dev/null; exit 7", None),
        ("cat >/dev/null; echo '{\"bookmarks\":{}}'; echo 'not a state'; exit 7", {"bookmarks": {}}),
    ],
    ids=["at once", "at the end", "with a state"],
)
def test_script_with_a_failing_target_keeps_the_state_that_it_printed(
    runner: Callable[..., Runner], script: str, state: dict[str, Any] | None
) -> None:
    account = runner(250)
    assert account.run("bash", "-c", script)[0] == 7
    file = account.folder / "state.json"
    assert (json.loads(file.read_text()) if file.exists() else None) == state


def test_script_passes_no_credentials_to_the_target(runner: Callable[..., Runner]) -> None:
    account = runner(1)
    assert account.run("bash", "-c", "cat >/dev/null; env >seen")[0] == 0
    assert "TAP_SEQUENCE" not in (account.folder / "seen").read_text()


# Airflow and Dagster


RECORDER = """#!/usr/bin/env bash
echo "$(date +%s%N) 1" >>{log}
{tap} "$@"
status=$?
echo "$(date +%s%N) -1" >>{log}
exit $status
"""


@dataclass
class Account:
    """A simulated account, and what an engine is told about it."""

    name: str
    simulator: Simulator
    folder: Path
    client_id: str
    client_secret: str

    @property
    def settings(self) -> dict[str, str]:
        return {"api_url": self.simulator.base_url, "requests_per_minute": "60000"}

    def assert_all_is_loaded_once(self) -> None:
        store = self.simulator.store
        assert sorted(_loaded(self.folder)) == sorted(store.ids())
        bookmark = _bookmark(self.folder)
        assert bookmark["query"]["host"] == self.simulator.base_url.removeprefix("http://")
        newest = max((log["createdAt"] for log in store.logs()), key=parse_timestamp)
        assert parse_timestamp(bookmark["replication_key_value"]) == parse_timestamp(newest)


@dataclass
class Engine:
    """An orchestrator in an environment of its own."""

    scripts: Path
    folder: Path
    home: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def call(self, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        program, *arguments = map(str, command)
        return subprocess.run(
            [str(self.scripts / program), *arguments],
            cwd=self.folder,
            env=_clean_environment(HOME=str(self.home), **self.variables, **variables),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    @contextmanager
    def serve(self, program: str, *arguments: str) -> Iterator[None]:
        """Run something until the block ends."""
        log = self.folder / f"{arguments[0]}.log"
        with (
            log.open("wb") as output,
            subprocess.Popen(
                [self.scripts / program, *arguments],
                cwd=self.folder,
                env=_clean_environment(HOME=str(self.home), **self.variables),
                stdout=output,
                stderr=output,
                start_new_session=True,
            ) as process,
        ):
            try:
                yield
            finally:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)

    def most_at_once(self) -> int:
        """Return how many taps ran at the same time, at most; and forget them."""
        log = self.folder / "taps.log"
        changes = sorted(tuple(map(int, line.split())) for line in log.read_text().splitlines())
        log.unlink()
        return max(accumulate(change for _, change in changes))


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Install an engine as its folder's requirements say; its taps note when they begin and end."""
    name = request.param
    folder = tmp_path_factory.mktemp(name)
    uv("venv", "--python", sys.executable, folder / "venv")
    uv("pip", "install", "--python", folder / "venv", "-r", EXAMPLES / name / "requirements.txt")

    scripts = folder / "home" / ".local" / "bin"
    scripts.mkdir(parents=True)
    real = home / ".local" / "bin"
    (scripts / "target-jsonl").symlink_to(real / "target-jsonl")
    recorder = scripts / "tap-sequence"
    recorder.write_text(RECORDER.format(log=folder / "taps.log", tap=real / "tap-sequence"))
    recorder.chmod(0o755)
    engine = Engine(folder / "venv" / "bin", folder, folder / "home")
    engine.variables = {"SEQUENCE_OUTPUT": str(engine.output), "SEQUENCE_RETRY_SECONDS": "0"}
    return engine


@pytest.fixture
def accounts(engine: Engine) -> Iterator[list[Account]]:
    """Three accounts with logs and credentials of their own."""
    with ExitStack() as stack:
        yield [
            Account(
                name,
                simulator=stack.enter_context(
                    _simulated_account(seed, logs, (f"{name}-id", f"{name}-secret"))
                ),
                folder=engine.output / name,
                client_id=f"{name}-id",
                client_secret=f"{name}-secret",
            )
            for seed, (name, logs) in enumerate({"acme": 1250, "globex": 730, "initech": 340}.items())
        ]


def _simulated_account(seed: int, logs: int, credentials: tuple[str, str]) -> Simulator:
    api = SimulatedApi(Options(seed=seed, latency=(0.1, 0.1)), credentials=credentials)
    api.store.grow(logs)
    return Simulator(api)


def _load_three_accounts(
    engine: Engine, accounts: list[Account], run: Callable[[], subprocess.CompletedProcess[str]]
) -> Iterator[int]:
    """Load three accounts twice, the first time with a wrong secret; yield how many ran at once."""
    acme, globex, initech = accounts
    initech.client_secret = "wrong"
    failed = run()
    assert failed.returncode != 0
    output = failed.stdout + failed.stderr
    assert "Sequence refused the credentials" in output
    for account in accounts:
        assert f"{account.name}-secret" not in output
    acme.assert_all_is_loaded_once()
    globex.assert_all_is_loaded_once()
    assert not _loaded(initech.folder)
    yield engine.most_at_once()

    initech.client_secret = "initech-secret"
    new = acme.simulator.store.grow(45)
    loaded = len(_loaded(acme.folder))
    for account in accounts:
        account.simulator.api.forget_requests()
    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    for account in accounts:
        account.assert_all_is_loaded_once()
    assert sorted(_loaded(acme.folder)[loaded:]) == sorted(new)
    assert len(globex.simulator.requests) <= 2
    states = [account.folder / "state.json" for account in accounts]
    assert sorted(engine.output.rglob("state.json")) == states
    assert len({state.read_text() for state in states}) == 3
    yield engine.most_at_once()


@pytest.mark.parametrize("engine", ["dagster"], indirect=True)
def test_dagster_loads_three_accounts_two_at_a_time(engine: Engine, accounts: list[Account]) -> None:
    home = engine.folder / "dagster-home"
    home.mkdir()
    shutil.copy(EXAMPLES / "dagster" / "dagster.yaml", home)
    engine.variables |= {"DAGSTER_HOME": str(home), "SEQUENCE_ACCOUNTS": "acme globex initech"}
    definitions = ("-f", EXAMPLES / "dagster" / "definitions.py")
    valid = engine.call("dagster", "definitions", "validate", *definitions)
    assert valid.returncode == 0, valid.stderr

    def run() -> subprocess.CompletedProcess[str]:
        variables = {
            f"{account.name.upper()}_TAP_SEQUENCE_{setting.upper()}": value
            for account in accounts
            for setting, value in {
                **account.settings,
                "client_id": account.client_id,
                "client_secret": account.client_secret,
            }.items()
        }
        return engine.call("dagster", "job", "execute", *definitions, "-j", "sequence", **variables)

    assert list(_load_three_accounts(engine, accounts, run)) == [2, 2]


def _airflow_variables(accounts: list[Account], home: Path) -> dict[str, str]:
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(EXAMPLES / "airflow" / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW_VAR_SEQUENCE_ACCOUNTS": json.dumps([account.name for account in accounts]),
    }


def _airflow_connections(accounts: list[Account]) -> dict[str, str]:
    return {
        f"AIRFLOW_CONN_SEQUENCE_{account.name.upper()}": json.dumps(
            {
                "conn_type": "generic",
                "login": account.client_id,
                "password": account.client_secret,
                "extra": account.settings,
            }
        )
        for account in accounts
    }


DAG_BAG = """
from airflow.dag_processing.dagbag import DagBag
bag = DagBag()
assert not bag.import_errors, bag.import_errors
(dag,) = bag.dags.values()
assert dag.max_active_runs == 1
assert dag.get_task("load").max_active_tis_per_dag == 2
"""


@pytest.mark.parametrize("engine", ["airflow"], indirect=True)
def test_airflow_with_one_failing_account_loads_the_others(engine: Engine, accounts: list[Account]) -> None:
    engine.variables |= _airflow_variables(accounts, engine.folder / "airflow-home")
    migrated = engine.call("airflow", "db", "migrate")
    assert migrated.returncode == 0, migrated.stderr
    parsed = engine.call("python", "-c", DAG_BAG)
    assert parsed.returncode == 0, parsed.stderr

    def run() -> subprocess.CompletedProcess[str]:
        return engine.call("airflow", "dags", "test", "sequence", **_airflow_connections(accounts))

    # `dags test` runs one task after another; it is the scheduler that runs two.
    assert list(_load_three_accounts(engine, accounts, run)) == [1, 1]


@pytest.mark.parametrize("engine", ["airflow"], indirect=True)
def test_airflow_scheduler_loads_two_accounts_at_a_time(engine: Engine, accounts: list[Account]) -> None:
    port = free_port()
    engine.variables |= {
        **_airflow_variables(accounts, engine.folder / "scheduler-home"),
        **_airflow_connections(accounts),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": "a key that is long enough to sign the tokens of this test with, 64 bytes",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
    }
    shutil.rmtree(engine.output, ignore_errors=True)
    (engine.folder / "taps.log").unlink(missing_ok=True)
    migrated = engine.call("airflow", "db", "migrate")
    assert migrated.returncode == 0, migrated.stderr
    states = [account.folder / "state.json" for account in accounts]
    with engine.serve("airflow", "api-server"):
        # Tasks report to it.
        _wait_until(lambda: is_listened_on(port), 240)
        # The DAG is not paused, so that the hour that has begun is due.
        with (
            engine.serve("airflow", "dag-processor"),
            engine.serve("airflow", "scheduler", "--skip-serve-logs"),
        ):
            _wait_until(lambda: all(state.exists() for state in states), 180)
            time.sleep(1)
    for account in accounts:
        account.assert_all_is_loaded_once()
    assert engine.most_at_once() == 2


# What the pages say


def _commands(page: str, heading: str) -> str:
    """Return the shell commands of one section of a page."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    _, _, section = text.partition(f"\n## {heading}\n")
    return "".join(block.text for block in blocks_in(section.partition("\n## ")[0], page, "shell"))


@dataclass
class Clone:
    """A clone of this repository, and a home directory in which the first section's commands have run."""

    folder: Path
    home: Path

    def run(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=_clean_environment(HOME=str(self.home), **variables),
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )

    def assert_all_loaded(self, *folders: str) -> None:
        for folder in folders:
            ids = _loaded(self.folder / "output" / folder)
            assert len(ids) == len(set(ids)) > 1000


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    folder = tmp_path_factory.mktemp("clone") / "home" / "tap-sequence"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    clone = Clone(folder, folder.parent)
    done = clone.run(_commands("scheduling.md", "One run"), **_uv_variables())
    assert done.returncode == 0, done.stderr
    clone.assert_all_loaded("once")
    return clone


def _uv_variables() -> dict[str, str]:
    program = find_uv_bin()
    cache = subprocess.run(
        [program, "cache", "dir"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return {"PATH": f"{Path(program).parent}:{os.environ['PATH']}", "UV_CACHE_DIR": cache}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("heading", "folders"),
    {
        "cron": ["cron-acme", "cron-globex"],
        "Meltano": ["demo", "acme", "globex"],
        "Airflow": ["airflow/demo", "airflow/acme", "airflow/globex", "airflow/initech"],
        "Dagster": ["dagster/demo", "dagster/acme", "dagster/globex", "dagster/initech"],
    }.items(),
)
def test_scheduling_and_scaling_commands_work_as_written(
    clone: Clone, heading: str, folders: list[str]
) -> None:
    for page in ("scheduling.md", "scaling.md"):
        done = clone.run(_commands(page, heading), **_uv_variables())
        assert done.returncode == 0, done.stdout + done.stderr
    clone.assert_all_loaded(*folders)


def test_crontab_lines_work_as_cron_runs_them(clone: Clone) -> None:
    (clone.folder / ".env").write_text("TAP_SEQUENCE_ENVIRONMENT=demo\n")
    *variables, line = [
        line
        for line in (EXAMPLES / "cron" / "crontab").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    done = subprocess.run(
        ["/bin/sh", "-c", line.split(maxsplit=5)[5]],
        cwd=clone.home,
        env={"HOME": str(clone.home), "PATH": "/usr/bin:/bin", **dict(each.split("=") for each in variables)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    (clone.folder / ".env").unlink()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    clone.assert_all_loaded("cron")
