"""Results on stdout, as text for people or JSON for machines; everything else on stderr."""

import json
import sys
from collections.abc import Sequence
from typing import Any, Self

import click
from tqdm import tqdm

as_json = click.option("--json", "json_wanted", is_flag=True, help="Print JSON on stdout.")


def harmless(text: str) -> str:
    """Text of strangers for a terminal: what moves the cursor, hides or forges lines is escaped.

    Escapes are those of JSON, so JSON stays the JSON it was.
    """
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def echo(text: str, *, err: bool = False) -> None:
    """One line on stdout or stderr, `harmless`."""
    click.echo(harmless(text), err=err)


def echo_lines(text: str) -> None:
    """A message of several lines on stderr, each `harmless`."""
    for part in text.split("\n"):
        echo(part, err=True)


def print_json(value: Any) -> None:
    """A value as indented JSON on stdout."""
    for part in json.dumps(value, indent=2, ensure_ascii=False).split("\n"):
        echo(part)


def print_table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """Rows as aligned columns on stdout, a heading first."""
    cells = [list(columns), *([harmless(_cell(row.get(name))) for name in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


def line(value: Any) -> str:
    """A value in one line, for people."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def size_text(count: float) -> str:
    """Bytes for people: `12.3 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:  # noqa: PLR2004 - SI prefixes
            return f"{count:.1f} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1000
    return f"{count:.1f} TB"


class Bar:
    """Progress on stderr: a bar with rate and time left; a line a minute off a terminal."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def begin(self, *, total_tokens: int, done_tokens: int) -> None:
        """See lopd_store.building.progress.Progress."""
        if done_tokens:
            self.say(f"resuming: {done_tokens:,} of {total_tokens:,} tokens are done")
        self._open(total_tokens, done_tokens, unit="tok")

    def begin_transfer(self, *, total_bytes: int, done_bytes: int) -> None:
        """See Progress."""
        if done_bytes:
            done, total = size_text(done_bytes), size_text(total_bytes)
            self.say(f"resuming: {done} of {total} are here")
        self._open(total_bytes, done_bytes, unit="B")

    def _open(self, total: int, done: int, *, unit: str) -> None:
        """One bar at a time: a command may have several stretches of work."""
        self.close()
        self._bar = tqdm(
            total=total,
            initial=done,
            unit=unit,
            unit_scale=True,
            dynamic_ncols=True,
            delay=0.5,  # what fails or ends at once draws none
            mininterval=0.1 if sys.stderr.isatty() else 60.0,
            file=sys.stderr,
        )

    def advance(self, amount: int) -> None:
        """See Progress."""
        if self._bar is not None:
            self._bar.update(amount)

    def say(self, message: str) -> None:
        """See Progress."""
        tqdm.write(message, file=sys.stderr)

    def __enter__(self) -> Self:
        return self

    def close(self) -> None:
        """End the bar that is shown, if one is."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __exit__(self, *_: object) -> None:
        self.close()
