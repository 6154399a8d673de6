"""Checks the statements and code of docs/authenticators.md."""

import hashlib
import re
import typing
from pathlib import Path

from authn.authenticator_suite import AuthenticatorCase, chain_of
from authn.gateway_plugin import EXAMPLE
from factories import Service
from idp.authn import outcome as outcomes
from idp.authn.chain import AuthenticatorChain
from idp.authn.credential import Presented, from_token
from idp.authn.outcome import Authenticated, NotMine, Rejected
from idp.authn.plugins import GROUP, PluginContext
from idp.errors import catalogue

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "authenticators.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_chain_is_listed_in_its_order(service: Service) -> None:
    intro = PAGE[: PAGE.index("## Four outcomes")]
    names = [each.name for each in chain_of(service).authenticators]
    assert re.findall(r"`([a-z]+_[a-z]+)`", intro) == names
    assert intro.index("local_jwt") < intro.index("plugins") < intro.index("dev_headers")


def test_every_outcome_subject_and_part_is_named() -> None:
    table = re.findall(r"^\| `(\w+)", PAGE, re.MULTILINE)
    assert set(table) == {each.__name__ for each in typing.get_args(outcomes.Outcome)}
    for subject in typing.get_args(outcomes.Subject):
        assert f"`{subject.__name__}`" in PAGE
    for part in (*Presented.__struct_fields__, *PluginContext.__struct_fields__):
        assert f"`{part}`" in PAGE


def test_every_code_on_it_is_in_the_catalogue() -> None:
    codes = re.findall(r"(?:401|503) `(\w+)`", PAGE)
    assert codes
    assert set(codes) <= set(catalogue())


async def test_the_class_on_it_works_as_it_stands() -> None:
    """The reader copies it; it must do what the page says."""
    names: dict[str, typing.Any] = {}
    exec(compile(blocks("python")[0], "docs/authenticators.md", "exec"), names)
    known = {hashlib.sha256(b"kiosk_lobby").hexdigest(): "lobby"}
    kiosk = names["KioskToken"](known)
    accepted = await kiosk.authenticate(from_token("kiosk_lobby"))
    assert isinstance(accepted, Authenticated)
    assert (accepted.credential.name, accepted.credential.method) == ("lobby", "service_token")
    assert isinstance(await kiosk.authenticate(from_token("kiosk_garage")), Rejected)
    for presented in (Presented(), from_token("other"), from_token("")):
        assert isinstance(await kiosk.authenticate(presented), NotMine)
    assert isinstance(await AuthenticatorChain([kiosk]).authenticate(from_token("other")), Rejected)


def test_what_it_quotes_of_the_example_is_the_example() -> None:
    assert blocks("python")[1] in (EXAMPLE / "idp_gateway_authenticator.py").read_text()
    (entry_point,) = blocks("toml")
    assert entry_point in (EXAMPLE / "pyproject.toml").read_text()
    assert f'"{GROUP}"' in entry_point


def test_the_suite_asks_what_it_says() -> None:
    last = PAGE[PAGE.index("## The shared test suite") :].lower()
    for question in AuthenticatorCase.__abstractmethods__ - {"good", "revocations", "without_database"}:
        assert question.replace("_", " ") in last, question
    assert "revoked" in last
    assert "database that is down" in last


def test_every_link_leads_somewhere_and_it_is_one_page() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert len(targets) >= 3
    assert [target for target in targets if not (ROOT / "docs" / target).exists()] == []
    for path in re.findall(r"`(\w+/[\w/]+\.py)`", PAGE):
        assert (ROOT / "src" / "idp" / path).exists() or (ROOT / path).exists(), path
    assert len(PAGE.splitlines()) <= 120
