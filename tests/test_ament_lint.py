"""ament's own linters on the package, where they are installed (ament-lint-flake8 of PyPI)."""

import importlib.util
import subprocess
import sys

import pytest
import ros_support

PARTS = ["sphinx_ros", "launch"]
IGNORED = "D105 D107 D205 D210 D212 D403 D415 D417".split()
"""As ruff is told in pyproject.toml, and D403 and D415: a docstring may begin with a quoted word,
and a sentence may end with a colon in front of an example."""
LINTERS = {
    "ament_flake8": ["--config", "tools/ament_flake8.ini"],
    "ament_pep257": ["--convention", "google", "--add-ignore", *IGNORED, "--"],
}


@pytest.mark.parametrize("linter", LINTERS)
def test_clean(linter):
    if importlib.util.find_spec(linter) is None:
        pytest.skip(f"{linter} is not installed (pip install ament-lint-{linter[6:]})")
    run = f"import sys; from {linter}.main import main; sys.exit(main())"
    command = [sys.executable, "-c", run, *LINTERS[linter], *PARTS]
    done = subprocess.run(command, cwd=ros_support.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
