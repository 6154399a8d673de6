"""Every promise of the services that idp replaces has a test that names it."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "script/promises"


def test_no_promise_is_without_a_test() -> None:
    done = subprocess.run([SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    count = int(done.stdout.split()[0])
    assert count > 200
    assert done.stdout == f"{count} promises, 0 without a test\n"


def test_a_promise_without_a_test_is_listed(tmp_path: Path) -> None:
    unnamed = "S4-" + "99"
    page = tmp_path / "references.md"
    page.write_text(f"| {unnamed} | flying |\n")
    done = subprocess.run([SCRIPT, page], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, f"{unnamed}  flying\n1 promises, 1 without a test\n")
