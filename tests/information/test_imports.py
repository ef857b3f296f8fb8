"""The ground floor pulls in numpy and numba, and nothing heavier."""

import subprocess
import sys


def test_no_heavy_import():
    code = (
        "import sys, entropilot.information\n"
        "print([m for m in ('torch', 'scipy.stats', 'polars', 'matplotlib') if m in sys.modules])"
    )
    path = next(p for p in sys.path if p.endswith("src"))
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": path},
    )
    assert run.stdout.strip() == "[]"
