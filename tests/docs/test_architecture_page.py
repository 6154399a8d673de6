"""docs/architecture.md says what the imports are."""

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text("utf-8")


def test_the_layers_are_those_that_ci_checks() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / ".importlinter")
    checked = [line for line in config["importlinter:contract:layers"]["layers"].splitlines() if line]
    shown = re.findall(r"^```text\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)[0].splitlines()
    assert shown == checked


def test_every_package_is_described() -> None:
    packages = {path.name for path in (ROOT / "src/idp").iterdir() if (path / "__init__.py").exists()}
    described = set(re.findall(r"`(\w+)/`", PAGE))
    assert packages <= described
