"""Questions one after another, typed: the prompt of `lopd-store sql`."""

import contextlib
from typing import Any, Final

import click
import duckdb

from lopd_cli.answers import print_rows
from lopd_cli.output import echo, echo_lines
from lopd_store.errors import LopdError
from lopd_store.sql.macros import MACROS
from lopd_store.sql.session import ask, refusing
from lopd_store.sql.statements import parsed

_FIRST, _NEXT = "lopd> ", " ...> "
_HELP: Final = """\
A statement ends with `;` and may take several lines. It reads, and cannot write.
.tables    views and their columns
.macros    what can be asked with a word
.quit      leave; so does Ctrl-D. Ctrl-C stops a query, or drops what was typed."""


class Prompt:
    """Reads statements and commands until it is told to stop; errors do not end it."""

    def __init__(self, connection: Any) -> None:
        """`connection` is of `sql.session.connect`."""
        self._connection = connection

    def run(self) -> None:
        """Ask, answer, again."""
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - input() edits lines and remembers them with it
        click.echo("views signals, rollouts, tokens; .help helps, .quit leaves", err=True)
        typed = ""
        while True:
            try:
                typed += input(_NEXT if typed else _FIRST) + "\n"
            except EOFError:
                click.echo(err=True)
                return
            except KeyboardInterrupt:
                click.echo(err=True)
                typed = ""
                continue
            if typed.strip() == ".quit":
                return
            if self._is_whole(typed):
                self._answer(typed.strip())
                typed = ""

    def _is_whole(self, typed: str) -> bool:
        """Nothing, a command of ours, or a text whose last word is a semicolon."""
        text = typed.strip()
        if not text or text.startswith("."):
            return True
        if not text.endswith(";"):
            return False
        try:  # in a string or a comment it ends nothing
            kinds = [kind for at, kind in duckdb.tokenize(text) if at == len(text.encode()) - 1]
        except duckdb.Error:
            return True
        return bool(kinds) and kinds[0] == duckdb.token_type.operator

    def _answer(self, text: str) -> None:
        try:
            if text.startswith("."):
                self._obey(text)
            elif parsed(text):
                with refusing():
                    print_rows(ask(self._connection, text).to_arrow_reader())
        except LopdError as error:
            echo_lines(f"error: {error}")
        except (KeyboardInterrupt, duckdb.InterruptException):
            self._connection.interrupt()
            click.echo("stopped", err=True)

    def _obey(self, text: str) -> None:
        if text == ".help":
            click.echo(_HELP)
        elif text == ".macros":
            for macro in MACROS:
                echo(f"{macro.call:<32}  {macro.gives}")
        elif text == ".tables":
            rows = ask(self._connection, _TABLES).to_arrow_reader()
            print_rows(rows)
        elif text:
            echo(f"expected .help, .tables, .macros or .quit, found {text}", err=True)


_TABLES: Final = """
    select schema_name as schema, table_name as view, string_agg(column_name, ', ') as columns
    from duckdb_columns() where not internal group by all order by all
"""
