"""Writes `docs/cli.md` from the commands' own help: `python docs/reference.py > docs/cli.md`."""

from collections.abc import Iterator

import click

from lopd_cli.store import main
from lopd_cli.training import commands

_WIDTH = 88


def reference() -> str:
    """The help of every command, as one Markdown page."""
    return "\n".join(_page())


def _page() -> Iterator[str]:
    yield "# Commands\n"
    yield "Written by `docs/reference.py` from the commands themselves; a test keeps it so.\n"
    yield from _group(main, "lopd-store")
    yield from _group(commands, "lopd-train")


def _group(group: click.Group, name: str) -> Iterator[str]:
    yield _section(group, name)
    for word, command in group.commands.items():
        yield _section(command, f"{name} {word}")


def _section(command: click.Command, name: str) -> str:
    context = click.Context(
        command,
        info_name=name,
        terminal_width=_WIDTH,
        max_content_width=_WIDTH,
        help_option_names=main.context_settings["help_option_names"],
    )
    return f"## `{name}`\n\n```text\n{command.get_help(context)}\n```\n"


if __name__ == "__main__":
    click.echo(reference(), nl=False)
