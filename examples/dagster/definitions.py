"""Sequence's activity logs in Dagster: an asset for each account, loaded each hour, at most two of them at a time.

`SEQUENCE_ACCOUNTS` lists the accounts: `acme globex`. Variables that begin with an account's name are its settings of the
tap: `ACME_TAP_SEQUENCE_CLIENT_ID` becomes `TAP_SEQUENCE_CLIENT_ID` for acme, and for nobody else.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import dagster as dg

RUN = Path(__file__).resolve().parents[1] / "run.sh"
# Each account has a folder of its own in here, for its state and what the target writes.
OUTPUT = Path(os.environ.get("SEQUENCE_OUTPUT", "output")).resolve()
TARGET = shlex.split(os.environ.get("SEQUENCE_TARGET", "target-jsonl"))
RETRIES = dg.RetryPolicy(max_retries=2, delay=float(os.environ.get("SEQUENCE_RETRY_SECONDS", "300")))


def environment_of(account: str) -> dict[str, str]:
    """Return the environment, with this account's settings and no other's."""
    own = f"{account.upper()}_TAP_SEQUENCE_"
    inherited = {name: value for name, value in os.environ.items() if "TAP_SEQUENCE_" not in name}
    return inherited | {
        "TAP_SEQUENCE_" + name.removeprefix(own): value
        for name, value in os.environ.items()
        if name.startswith(own)
    }


def load(account: str) -> None:
    """Load what is new in one account, in processes of their own: the tap's packages and Dagster's are kept apart.

    Raises:
        Failure: The status was not 0.
    """
    command = [str(RUN), str(OUTPUT / account), *TARGET]
    # A session of its own: only this function stops it, and waits until the state is written.
    with subprocess.Popen(command, env=environment_of(account), start_new_session=True) as process:
        try:
            status = process.wait()
        except BaseException:
            process.terminate()
            raise
    if status:
        msg = f"Loading {account} ended with status {status}; standard error says why."
        raise dg.Failure(msg)


def asset_of(account: str) -> dg.AssetsDefinition:
    """Return the asset that is one account's activity logs."""

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
