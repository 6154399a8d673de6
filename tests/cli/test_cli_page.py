"""Checks the statements of docs/cli.md."""

import re

import rich_click as click

from cli.support import ROOT
from idp.cli.auth_cli import parser
from idp.cli.commands import cli
from idp.cli.failure import Failure

PAGE = (ROOT / "docs/cli.md").read_text("utf-8")


def test_every_command_is_named() -> None:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        assert name in PAGE, name
        command = cli.get_command(context, name)
        if isinstance(command, click.Group) and name in {"tokens", "keys", "users", "audit"}:
            for each in command.commands:
                assert re.search(rf"\b{each}\b", PAGE), f"{name} {each}"


def test_every_command_of_auth_cli_is_named() -> None:
    (commands,) = [action for action in parser()._actions if action.dest == "==SUPPRESS=="]
    assert commands.choices
    for each in commands.choices:
        assert re.search(rf"`{each} ", PAGE), each


def test_every_exit_code_is_explained() -> None:
    codes = {Failure.exit_code, *(kind.exit_code for kind in Failure.__subclasses__())}
    assert {int(code) for code in re.findall(r"^\| (\d) \|", PAGE, re.MULTILINE)} == codes
