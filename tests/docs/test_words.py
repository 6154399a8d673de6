"""Code, documentation and messages use the standard terms of the field: these words stand for none of them."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACES = (
    "src",
    "docs",
    "clients",
    "config",
    "deploy",
    "script",
    "db",
    "examples",
    "README.md",
    "CHANGELOG.md",
    "SECURITY.md",
)
# What was written before: paraphrases, metaphors, and names that a newcomer would not search for.
AVOIDED = re.compile(
    r"\b(whoever|whomever|somebody|lest|anew|shall|pretence|tallies|leftovers|bury|believes?|believed|hears)\b"
    r"|\bof ours\b|\bone's own\b|\bthe ear\b|\bEar\b|\bis nobody's\b|\bnobody who\b|\bby now\b|\bcame by\b",
    re.IGNORECASE,
)
TEXT = {".py", ".md", ".toml", ".html", ".txt", ".yaml", ".yml", ".js", ".mjs", ".css", ".sh", ""}


def files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", *PLACES], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a checkout")
    return [ROOT / name for name in listed.stdout.splitlines() if Path(name).suffix in TEXT]


def test_plain_words_are_used() -> None:
    """docs/contributing.md, section Style: the standard term first."""
    found = [
        f"{file.relative_to(ROOT)}:{number}: {match[0]!r}"
        for file in files()
        for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1)
        if (match := AVOIDED.search(line))
    ]
    assert found == []
