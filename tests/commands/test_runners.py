"""`spanserve runners`: where a model can run."""

import subprocess
import sys


def test_runners_are_listed_with_what_each_can_be_told() -> None:
    command = [sys.executable, "-m", "spanserve", "runners"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    heads = [line.partition("  (")[0] for line in lines if not line.startswith(" ")]
    assert heads == ["process", "thread"]
    keys = [line.split()[0] for line in lines if line.startswith("    ")]
    assert keys == ["replicas", "in_flight", "devices", "device_variable", "hang_after_s"]
    assert lines[-1] == "  settings: none"
