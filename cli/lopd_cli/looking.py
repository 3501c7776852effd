"""Commands that look: ls, show, log, diff."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from lopd_cli.claims import claim_text, model_text, tokenizer_text
from lopd_cli.errors import suggesting
from lopd_cli.options import open_store, store_option
from lopd_cli.output import as_json, echo, echo_lines, line, print_json, print_table, size_text
from lopd_store import inspect
from lopd_store.digest import Digest
from lopd_store.hub import HubName
from lopd_store.signal_difference import SignalDifference, compare_signals
from lopd_store.store import Store


@click.command()
@click.argument("name", required=False, metavar="[ORG/NAME[@REVISION]]")
@store_option
@as_json
def ls(name: str | None, root: Path, json_wanted: bool) -> None:  # noqa: FBT001 - a flag
    """List the refs of a store, or what a repository on the Hugging Face Hub has.

    That is one artifact a config and split, and the repository's versions; no shard is downloaded.
    """
    if name is not None:
        _list_repository(HubName.parse(name), root.expanduser(), json_wanted=json_wanted)
        return
    entries = inspect.ls(open_store(root))
    if json_wanted:
        print_json(entries)
        return
    print_table(
        [_short_entry(entry) for entry in entries],
        ("ref", "kind", "rows", "tokens", "size", "id", "teacher", "policy"),
    )
    for entry in entries:
        if "error" in entry:
            echo_lines(f"{entry['ref']}: {entry['error']}")


def _list_repository(name: HubName, root: Path, *, json_wanted: bool) -> None:
    found = inspect.ls_on_hub(name, Store.find(root))
    if json_wanted:
        print_json(found)
        return
    echo(f"{found['repository']}@{found['revision']}, commit {found['commit']}")
    print_table(
        [_short_entry(entry) for entry in found["artifacts"]],
        ("config", "split", "kind", "rows", "tokens", "size", "id", "teacher"),
    )
    if found["versions"]:
        print_table(found["versions"], ("version", "commit"))
    for entry in found["artifacts"]:
        if "error" in entry:
            echo_lines(f"{entry['config']}/{entry['split']}: {entry['error']}")


def _short_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    size, id_ = entry.get("bytes"), entry.get("id")
    return {
        **entry,
        "id": id_ and _short(id_),
        "size": None if size is None else size_text(size),
    }


@click.command()
@click.argument("name", metavar="REF|ORG/NAME")
@click.option("--skipped", is_flag=True, help="List the rows of the source that were left out.")
@store_option
@as_json
def show(
    name: str,
    root: Path,
    skipped: bool,  # noqa: FBT001 - a flag
    json_wanted: bool,  # noqa: FBT001 - a flag
) -> None:
    """Show what an artifact says of itself; with --json, all of it.

    It is one of the store, or org/name[/config[/split]][@revision][@sha256:ID] on the Hub, of which
    no shard is downloaded.
    """
    folder = root.expanduser()
    with suggesting(Store(folder), name, hub_too=True):
        if skipped:
            rows = inspect.skipped_named(name, root=folder)
            print_json(rows) if json_wanted else print_table(rows, ("row", "reason", "detail"))
            return
        found = inspect.show_named(name, root=folder)
    if json_wanted:
        print_json(found)
        return
    facts = {label: text for label, text in _facts(found, name) if text}
    width = max(map(len, facts))
    for label, text in facts.items():
        echo(f"{label:<{width}}  {text}")
    shards = [shard | {"digest": _short(shard["digest"])} for shard in found["shards"]]
    print_table(shards, ("digest", "rows", "tokens", "bytes", "path"))


def _facts(found: Mapping[str, Any], name: str) -> Iterator[tuple[str, str]]:
    """What `show` prints: a label and a line; an empty line is left out."""
    yield "id", found["id"]
    yield "refs", ", ".join(found["refs"])
    if "commit" in found:
        place = f"{found['repository']}/{found['config']}/{found['split']}@{found['revision']}"
        yield "on the Hub", f"{place}, commit {found['commit']}"
    yield "kind", found["kind"]
    for count in ("rows", "tokens", "prompt_tokens", "duplicates"):
        yield count.replace("_", " "), f"{found[count]:,}"
    yield "skipped", ", ".join(f"{n:,} {reason}" for reason, n in found["skipped"].items()) or "0"
    yield "teacher", model_text(found["teacher"]) or claim_text("teacher", found["imported"])
    yield "policy", model_text(found["policy"]) or claim_text("policy", found["imported"])
    yield "sft teacher", found["sft_teacher"] or ""
    for scored_by, scoring in found["scorings"].items():
        yield f"{scored_by} engine", _engine(scoring)
    yield "engine", claim_text("scoring", found["imported"])
    yield (
        "sampling",
        ", ".join(f"{key} {value}" for key, value in (found["sampling"] or {}).items()),
    )
    exact = found["precision"] == "exact"
    yield "precision", "exact" if exact else f"within {found['precision']} nats"
    yield "tokenizer", tokenizer_text(found["tokenizer"], found["imported"])
    yield "imported", _imported(found["imported"])
    yield "unknown", ", ".join((found["imported"] or {}).get("unknown", ()))
    yield "lineage", ", ".join(f"{x['kind']} {_short(x['digest'])}" for x in found["lineage"])
    for noise in found["noise"]:
        moved = f"largest {noise['max_abs']}, bound {noise['bound']} nats"
        yield f"{noise['scoring']} noise", f"{moved}, {noise['rows']} rows scored twice"
    if found["signers"]:
        named = ", ".join(found["signers"])
        yield "signed by", f"{named}: named, not proved (lopd-store verify {name} --key PUB)"
    yield "content", found["content_digest"]
    yield "columns", ", ".join(f"{column['name']} {column['type']}" for column in found["columns"])


def _short(digest: str) -> str:
    return Digest(digest).short


def _engine(scoring: Mapping[str, Any]) -> str:
    engine, quantization = scoring["engine"], scoring["quantization"]
    return " ".join(
        [
            *(engine, scoring["versions"].get(engine, ""), scoring["dtype"]),
            *([quantization] if quantization != "none" else []),
            *("on", scoring["device"]),
        ]
    )


def _imported(imported: Mapping[str, Any] | None) -> str:
    if imported is None:
        return ""
    if imported.get("read_as") == "server":
        return "what a live server answered, ids as they were asked"
    made = "retokenised: ids were made from text" if imported["retokenised"] else "ids of the file"
    how = f", read as {imported['read_as']}" if "read_as" in imported else ""
    return f"file {_short(imported['digest'])}{how}, {made}"


@click.command()
@click.argument("ref")
@store_option
@as_json
def log(ref: str, root: Path, json_wanted: bool) -> None:  # noqa: FBT001 - a flag
    """Show how REF moved, newest first."""
    store = open_store(root)
    with suggesting(store, ref):
        entries = inspect.log(store, ref)
    if json_wanted:
        print_json(entries)
    else:
        messages = ("message",) if any(entry["message"] for entry in entries) else ()
        shown = [
            entry | {end: entry[end] and _short(entry[end]) for end in ("from", "to")}
            for entry in entries
        ]
        print_table(shown, ("time", "from", "to", *messages))


@click.command()
@click.argument("left", metavar="A")
@click.argument("right", metavar="B")
@click.option("--signals", is_flag=True, help="How far the two teachers lie apart, in nats.")
@store_option
@as_json
def diff(
    left: str,
    right: str,
    root: Path,
    signals: bool,  # noqa: FBT001 - a flag
    json_wanted: bool,  # noqa: FBT001 - a flag
) -> None:
    """Compare two artifacts: what made them, which samples they share, how far numbers differ.

    With --signals only the teachers' log-probs, on the tokens that both signals train, and what
    teacher consistency they allow.
    """
    store = open_store(root)
    if signals:
        with suggesting(store, left, right):
            measured = compare_signals(store, left, right)
        print_json(measured.to_json()) if json_wanted else _print_difference(measured)
        return
    with suggesting(store, left, right):
        found = inspect.diff(store, left, right)
    if json_wanted:
        print_json(found)
        return
    for change in found["documents"]:
        echo(f"{change['where']}: {line(change['left'])} | {line(change['right'])}")
    rows = found["rows"]
    click.echo(
        f"samples: {rows['common']:,} common, {rows['only_left']:,} only in A,"
        f" {rows['only_right']:,} only in B"
    )
    if not rows["common"]:
        click.echo(_NOTHING_IN_COMMON)
        return
    for column, numbers in found["columns"].items():
        click.echo(
            f"{column}: {numbers['differing']:,} of {numbers['tokens']:,} tokens differ,"
            f" mean {numbers['mean_abs']:.3g}, largest {numbers['max_abs']:.3g} nats"
        )


_NOTHING_IN_COMMON = "no sample in common: no numbers to compare"


def _print_difference(found: SignalDifference) -> None:
    for side, teachers in (("A", found.teacher_a), ("B", found.teacher_b)):
        for teacher in teachers:
            echo(f"teacher of {side}  {teacher}")
    same = {True: "the same", False: "ANOTHER", None: "not known to be the same"}
    click.echo(f"teachers      {same[found.same_teacher]}")
    if not found.tokens:
        click.echo(_NOTHING_IN_COMMON)
        return
    click.echo(
        f"tokens        {found.differing:,} of {found.tokens:,} differ, in {found.samples:,} common"
        " samples"
    )
    click.echo(
        f"delta         mean {found.mean:.4g}, spread {found.std:.4g}, mean size"
        f" {found.mean_abs:.4g}, largest {found.max_abs:.4g} nats (A less B)"
    )
    click.echo(f"over 1 nat    {found.over_one_nat:.2%} of the tokens")
    click.echo(
        f"sigma         {found.sigma:.4g} nats a sample, the root of {found.sigma_squared:.4g}: the"
        " mean of (sum of |delta|)^2"
    )
    click.echo(
        f"bound         one teacher in place of the other moves the gradient by {found.sigma:.4g} G"
        " at most (arXiv 2604.13010,\n              theorem 3.8); G bounds the gradient's norm of"
        " a token's log-prob"
    )
    if found.same_teacher and found.differing:
        click.echo("the same teacher gave other numbers: rounding, or the noise of its engine")
