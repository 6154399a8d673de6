"""Checks the statements of the documents."""

import re
from pathlib import Path

import pytest

from idp.errors import catalogue

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_first_screen_of_the_readme_shows_both_commands_and_real_output() -> None:
    screen = (ROOT / "README.md").read_text("utf-8").splitlines()[:45]
    assert "$ script/dev" in screen
    assert "$ script/test" in screen
    assert any(re.match(r"\d+ passed", line) for line in screen)


def test_the_migration_guide_names_what_replaces_the_old_commands() -> None:
    """S3-14 S3-16 S3-43 S3-74 C-12: the guide says what replaces them, and what is lost."""
    guide = (ROOT / "docs/migrate/promptstack.md").read_text("utf-8")
    for words in ("`idp migrate`", "`script/dev`", "PORT=8001", '`"secret"`', "IDP_SEED_FILE", "`idp check-db`"):
        assert words in guide, words
    assert (ROOT / "requirements.txt").read_bytes() == (ROOT / "requirements.lock").read_bytes()


def test_the_request_flow_names_files_that_exist() -> None:
    flow = (ROOT / "docs/request-flow.md").read_text("utf-8")
    files = re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)", flow)
    assert len(files) > 10
    for file in files:
        assert (ROOT / "src/idp" / file).is_file(), file


def test_decisions_are_numbered_without_gaps_and_fit_a_screen() -> None:
    decisions = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in decisions] == list(range(1, len(decisions) + 1))
    assert all(len(page.read_text("utf-8").splitlines()) <= 45 for page in decisions)


def test_every_code_says_what_to_do() -> None:
    """C-16: one catalogue, every entry whole and of its own."""
    codes = catalogue()
    for code, error in codes.items():
        assert re.fullmatch(r"[a-z_]+", code)
        assert error.title, code
        assert len(error.remedy) > 20, code
    assert len({error.title for error in codes.values()}) == len(codes)


def test_every_reference_has_a_key() -> None:
    """Whoever reads SEC-9 or S2-24 finds what it means."""
    keys = set(
        re.findall(r"^\| ((?:S[0-4]|C|SEC)-\w+) \|", (ROOT / "docs/references.md").read_text("utf-8"), re.MULTILINE)
    )
    files = [*PAGES, *ROOT.glob("src/**/*.py"), *ROOT.glob("config/*.toml"), *ROOT.glob("clients/**/*.py")]
    for file in files:
        named = set(re.findall(r"\b(S[0-4]-\d\d|SEC-\d{1,2}|C-\d\d[a-c]?)\b", file.read_text("utf-8")))
        assert named <= keys, file
