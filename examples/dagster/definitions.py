"""Sequence's activity logs in Dagster: one asset per account, loaded every hour, at most two at a time.

`SEQUENCE_ACCOUNTS` lists the accounts: `acme globex`. Variables that begin with an account's name hold the tap's settings for
that account only: `ACME_TAP_SEQUENCE_CLIENT_ID` becomes `TAP_SEQUENCE_CLIENT_ID` for acme.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import dagster as dg

RUN = Path(__file__).resolve().parents[1] / "run.sh"
# Each account has its own folder in here, for its state and the target's files.
OUTPUT = Path(os.environ.get("SEQUENCE_OUTPUT", "output")).resolve()
TARGET = shlex.split(os.environ.get("SEQUENCE_TARGET", "target-jsonl"))
RETRIES = dg.RetryPolicy(max_retries=2, delay=float(os.environ.get("SEQUENCE_RETRY_SECONDS", "300")))


def environment_of(account: str) -> dict[str, str]:
    """Return the environment with the settings of this account only."""
    own = f"{account.upper()}_TAP_SEQUENCE_"
    inherited = {name: value for name, value in os.environ.items() if "TAP_SEQUENCE_" not in name}
    return inherited | {
        "TAP_SEQUENCE_" + name.removeprefix(own): value
        for name, value in os.environ.items()
        if name.startswith(own)
    }


def load(account: str) -> None:
    """Load one account's new logs in separate processes, because the tap's packages conflict with Dagster's.

    Raises:
        Failure: The exit status was not 0.
    """
    command = [str(RUN), str(OUTPUT / account), *TARGET]
    # Use a new session, so that only this function stops the process, and waits until the state is written.
    with subprocess.Popen(command, env=environment_of(account), start_new_session=True) as process:
        try:
            status = process.wait()
        except BaseException:
            process.terminate()
            raise
    if status:
        msg = f"Loading {account} failed with exit status {status}; see standard error for the reason."
        raise dg.Failure(msg)


def asset_of(account: str) -> dg.AssetsDefinition:
    """Return the asset for one account's activity logs."""

    @dg.asset(name="activity_logs", key_prefix=account, retry_policy=RETRIES)
    def activity_logs() -> None:
        load(account)

    return activity_logs


sequence = dg.define_asset_job("sequence", tags={"sequence": "accounts"})

defs = dg.Definitions(
    assets=[asset_of(account) for account in os.environ["SEQUENCE_ACCOUNTS"].split()],
    jobs=[sequence],
    schedules=[dg.ScheduleDefinition(job=sequence, cron_schedule="@hourly")],
    executor=dg.multiprocess_executor.configured({"max_concurrent": 2}),
)
