"""The tests for launch_testing, by its own runner: its plugins do not load in every pytest."""

import os
import subprocess
import sys

import pytest
import ros_support
from launch_support import WHY, set_apart

RUN = "import sys; from launch_testing.launch_test import main; sys.exit(main())"
"""What the command launch_test does."""


@pytest.mark.ros
def test_the_launched_demonstration_answers_and_ends(monkeypatch):
    pytest.importorskip("launch_testing.launch_test", reason=WHY)
    set_apart(monkeypatch)
    file = ros_support.ROOT / "tests" / "launch" / "demo_launch_testing.py"
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(file)],
        env=dict(os.environ),
        cwd=ros_support.ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
