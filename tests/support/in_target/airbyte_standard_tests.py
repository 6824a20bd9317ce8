"""The standard tests of airbyte-cdk, for the command that the environment variable SOURCE names.

They expect an object of the CDK. `source-sequence` is made without it, so that each job runs the command instead.
"""

import os
import subprocess

from airbyte_cdk.test import entrypoint_wrapper
from airbyte_cdk.test.entrypoint_wrapper import EntrypointOutput
from airbyte_cdk.test.standard_tests import SourceTestSuiteBase


def run_command(*, args, **_):
    done = subprocess.run(
        [os.environ["SOURCE"], *args], capture_output=True, text=True, timeout=120, check=False
    )
    # Not splitlines, which also splits where a text has a line separator of Unicode.
    lines = done.stdout.rstrip("\n").split("\n")
    output = EntrypointOutput(messages=lines, command=args, stderr=done.stderr)
    # No line is anything but a message, and a failure is one in the exit status as well as in a message.
    assert all(line.startswith('{"type":') for line in lines)
    assert done.stderr == ""
    assert bool(output.errors) == bool(done.returncode)
    return output


entrypoint_wrapper._run_command = run_command


class Command:
    """Stands for a source of the CDK."""

    def spec(self, logger):
        raise NotImplementedError


class TestSource(SourceTestSuiteBase):
    connector = Command
