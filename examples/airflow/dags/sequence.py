"""Sequence's activity logs in Airflow: one task per account, run every hour, at most two at a time.

The Variable `sequence_accounts` lists the accounts: `["acme", "globex"]`. The Connection `sequence_acme` has acme's client
ID as login and its client secret as password. Its extra may hold other settings of the tap, such as
`{"environment": "sandbox"}`.
"""

from __future__ import annotations

import os
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import BaseHook, Variable, dag, task

RUN = Path(__file__).resolve().parents[2] / "run.sh"
# Each account has its own folder in here, for its state and the target's files.
OUTPUT = Path(os.environ.get("SEQUENCE_OUTPUT", "output")).resolve()
TARGET = os.environ.get("SEQUENCE_TARGET", "target-jsonl")
RETRY_DELAY = timedelta(seconds=float(os.environ.get("SEQUENCE_RETRY_SECONDS", "300")))


class LoadAccount(BashOperator):
    """Loads one account's new logs in separate processes, because the tap's packages conflict with Airflow's."""

    def __init__(self, *, account: str, **kwargs: Any) -> None:
        command = f"exec {shlex.join([str(RUN), str(OUTPUT / account)])} {TARGET}"
        super().__init__(bash_command=command, **kwargs)
        self.account = account

    # Do not use `env`: it is a template field, so Airflow would store and show the credentials.
    def get_env(self, context: Any) -> dict[str, str]:
        """Return the environment with the credentials of this account only."""
        account = BaseHook.get_connection(f"sequence_{self.account}")
        settings = {"client_id": account.login, "client_secret": account.password, **account.extra_dejson}
        inherited = {
            name: value
            for name, value in super().get_env(context).items()
            if not name.startswith(("AIRFLOW", "TAP_SEQUENCE_"))
        }
        return inherited | {
            f"TAP_SEQUENCE_{name.upper()}": str(value) for name, value in settings.items() if value
        }


@dag(
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": RETRY_DELAY},
)
def sequence() -> None:
    """Load all accounts. A failing account does not block the others, but the run is marked failed."""

    @task
    def accounts() -> list[str]:
        return Variable.get("sequence_accounts", deserialize_json=True)

    LoadAccount.partial(
        task_id="load",
        do_xcom_push=False,
        map_index_template="{{ task.account }}",
        max_active_tis_per_dag=2,
    ).expand(account=accounts())


sequence()
