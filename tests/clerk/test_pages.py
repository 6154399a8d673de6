"""docs/clerk.md and docs/migrate/anomalyze.md say what is so."""

import re
from pathlib import Path

from clerk.clerk_support import World
from idp.clerk.inbox import DUPLICATE, IGNORED, MALFORMED
from idp.clerk.sync import Outcome
from idp.cli.commands import cli
from idp.errors import catalogue
from idp.settings_schema import ALIASES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/clerk.md").read_text("utf-8")
GUIDE = (ROOT / "docs/migrate/anomalyze.md").read_text("utf-8")


def test_the_page_leads_through_the_dashboard() -> None:
    """S1-14: the URL, the three events, the signing secret, a restart."""
    for words in ("/webhooks/clerk", "`user.created`", "`user.updated`", "`user.deleted`", "signing secret", "restart"):
        assert words in PAGE, words


def test_every_variable_code_and_outcome_of_the_page_exists() -> None:
    names = {name for names in ALIASES.values() for name in names}
    assert set(re.findall(r"\bCLERK_[A-Z_]+\b", PAGE + GUIDE)) <= names
    codes = set(re.findall(r"(?:40[14]|413|503) `(\w+)`", PAGE))
    assert len(codes) >= 5
    assert codes <= catalogue().keys()
    (listed,) = re.findall(r"with the outcomes (.*?)\. ", PAGE.replace("\n", " "))
    assert set(re.findall(r"`(\w+)`", listed)) == {*Outcome, DUPLICATE, IGNORED, MALFORMED, "refused", "failed"}


def test_every_command_of_the_page_exists() -> None:
    """With its options."""
    lines = re.findall(r"\bidp ((?:dev )?clerk \w+)([^`\n|)]*)", PAGE)
    assert {command for command, _ in lines} == {
        "clerk diff", "clerk repair", "dev clerk create", "dev clerk update", "dev clerk delete", "dev clerk session"
    }  # fmt: skip
    for command, rest in lines:
        group = cli
        for name in command.split():
            found = group.get_command(None, name)  # type: ignore[arg-type]
            assert found is not None, command
            group = found  # type: ignore[assignment]
        options = {option for parameter in group.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert set(re.findall(r"--[a-z-]+", rest)) <= options, command


def test_the_guide_names_what_replaces_the_old_service() -> None:
    """S1-04 S1-21 S1-07 S1-13: TypeScript, Express and its folders are superseded; the tunnel is not needed."""
    for words in ("Litestar", "`src/webhooks/user.sync`", "src/idp/clerk", "localtunnel", "`script/dev`", "3002",
                  "deploy/compose/anomalyze.yaml", "`idp migrate`", "AUTH_API_CORS_ORIGINS"):  # fmt: skip
        assert words in GUIDE, words


async def test_swagger_is_served_and_other_origins_are_not_allowed(clerk: World) -> None:
    """S1-18 S1-19: `/docs`; `cors()` for any origin was unsafe, and is a setting now."""
    page = await clerk.service.client.get("/docs")
    assert (page.status_code, "swagger" in page.text.lower()) == (200, True)
    headers = {"Origin": "https://anyone.example", "Access-Control-Request-Method": "POST"}
    refused = await clerk.service.client.options("/v1/api-keys", headers=headers)
    assert refused.status_code == 403
    assert "access-control-allow-origin" not in refused.headers
