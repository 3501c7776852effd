"""Questions one after another, typed: the prompt of `lopd-store sql`."""

import contextlib
from typing import Any, Final

import click
import duckdb

from lopd_cli.answers import print_rows
from lopd_cli.errors import Terminated
from lopd_cli.output import echo, echo_lines
from lopd_store.errors import LopdError
from lopd_store.sql.answers import answering
from lopd_store.sql.macros import MACROS
from lopd_store.sql.statements import parsed

_FIRST, _NEXT = "lopd> ", " ...> "
_LEAVING: Final = (".quit", "quit", "exit")
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
            except Terminated:
                raise
            except KeyboardInterrupt:
                click.echo(err=True)
                typed = ""
                continue
            if typed.strip().rstrip(";") in _LEAVING:
                return
            if self._is_whole(typed):
                self._answer(typed.strip())
                typed = ""

    def _is_whole(self, typed: str) -> bool:
        """Nothing, a command of ours, or a text whose last word is a semicolon."""
        text = typed.strip()
        if not text or text.startswith("."):
            return True
        try:  # in a string or a comment it ends nothing
            tokens = duckdb.tokenize(text)
        except duckdb.Error:
            return text.endswith(";")
        ends = [at for at, kind in tokens if kind != duckdb.token_type.comment]
        return bool(ends) and text.encode()[ends[-1] :].startswith(b";")

    def _answer(self, text: str) -> None:
        try:
            if text.startswith("."):
                self._obey(text)
                return
            for statement in parsed(text):
                with answering(self._connection, statement.query) as answer:
                    print_rows(answer)
        except Terminated:
            raise
        except LopdError as error:
            echo_lines(f"error: {error}")
        except KeyboardInterrupt:
            click.echo("stopped", err=True)

    def _obey(self, text: str) -> None:
        if text == ".help":
            click.echo(_HELP)
        elif text == ".macros":
            for macro in MACROS:
                echo(f"{macro.call:<32}  {macro.gives}")
        elif text == ".tables":
            for name, columns in self._connection.execute(_TABLES).fetchall():
                echo(f"{name:<16}  {columns}")
        elif text:
            echo(f"expected .help, .tables, .macros or .quit, found {text}", err=True)


_TABLES: Final = """
    select concat_ws('.', schema_name, table_name) as view, string_agg(column_name, ', ')
    from duckdb_columns() where not internal group by all order by view
"""
