"""Which statements run: one SELECT, or an EXPLAIN of one. Everything else is refused by name."""

from typing import Any, Final

import duckdb

from lopd_store.errors import UsageError

_READING: Final = "SELECT, FROM, WITH, VALUES, DESCRIBE, SUMMARIZE, SHOW or EXPLAIN of one of these"


def readable(text: str) -> str:
    """The text, if it is one statement that only reads.

    DuckDB's own parser says what a statement is: comments and strings hide none from it.

    Raises UsageError: no statement, several, one that does more, or one that does not parse.
    """
    statements = parsed(text)
    if len(statements) != 1:
        raise UsageError(f"expected one statement, found {len(statements)}")
    kind = statements[0].type
    if kind == duckdb.StatementType.EXPLAIN:
        kind = _explained(text)
    if kind == duckdb.StatementType.MULTI:  # what DuckDB rewrites as several
        raise UsageError("expected PIVOT … ON … IN (…), found one whose columns are not named")
    if kind != duckdb.StatementType.SELECT:
        raise UsageError(f"expected {_READING}, found {kind.name}: sql only reads")
    return text


def condition(text: str) -> str:
    """The text, if it is one expression and nothing else.

    In parentheses it has no clause behind it, and without them it closes none that it did not
    open: what parses in both ways cannot leave the place it is put in.

    Raises UsageError where it does not parse.
    """
    for statement in (f"select {text}\n", f"select ({text}\n)"):
        try:
            readable(statement)
        except UsageError as error:
            raise UsageError(f"expected one expression, found {text!r}: {error}") from error
    return text


def parsed(text: str) -> list[Any]:
    """The statements in a text. Raises UsageError where it does not parse."""
    try:
        text.encode()
        return list(duckdb.extract_statements(text))
    except (duckdb.Error, UnicodeEncodeError) as error:
        raise UsageError(str(error)) from error


def _explained(text: str) -> Any:
    """What an EXPLAIN is about, as EXPLAIN ANALYZE runs it, whatever it is.

    The statement starts at the first token behind EXPLAIN and its options from which on the text
    parses: options alone never do.
    """
    data = text.encode()
    words = [at for at, kind in duckdb.tokenize(text) if kind != duckdb.token_type.comment]
    for start in words[1:]:
        try:
            return duckdb.extract_statements(data[start:].decode())[0].type
        except duckdb.Error:
            continue
    return duckdb.StatementType.EXPLAIN
