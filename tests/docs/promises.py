"""Lists promises of docs/references.md that no test names; see script/promises."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROMISE = r"S[0-4]-\d\d"


def main() -> int:
    """Compare the page with the tests."""
    page = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/references.md"
    promises = re.findall(rf"^\| ({PROMISE}) \| (.+) \|$", page.read_text("utf-8"), re.MULTILINE)
    tests = [path.read_text("utf-8") for path in ROOT.glob("tests/**/*.py")]
    named = {found for text in tests for found in re.findall(PROMISE, text)}
    missing = [f"{promise}  {text}" for promise, text in promises if promise not in named]
    lines = [*missing, f"{len(promises)} promises, {len(missing)} without a test"]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if missing or not promises else 0


if __name__ == "__main__":
    sys.exit(main())
