"""The command that takes other tools' signals in: import."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from lopd_cli.claims import claim_text, tokenizer_text
from lopd_cli.options import open_store, store_option
from lopd_cli.output import Bar, as_json, echo, print_json
from lopd_store.adapters import offering
from lopd_store.building.options import ON_ERROR, JobOptions
from lopd_store.documents.identity import Identity
from lopd_store.identity.model import fingerprint
from lopd_store.importing import Claims, Import, NamedTokenizer, import_file
from lopd_store.importing.claims import KINDS
from lopd_store.shards.writer import SHARD_TOKENS
from lopd_store.store import Store
from lopd_store.verify.unproved import RESCORED


@click.command("import")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, exists=False))
@click.option(
    "--format",
    "layout",
    required=True,
    type=click.Choice(offering("read")),
    help="Whose layout the file has.",
)
@click.option("-o", "--output", "ref", required=True, metavar="REF", help="The result's name.")
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    default=KINDS[0],
    show_default=True,
    help="rollouts: the file has no log-probs of a teacher.",
)
@click.option(
    "--tokenizer", help="Of the ids, and to make ids of text: a folder or org/name[@revision]."
)
@click.option("--teacher", help="Who gave the log-probs, says you; recorded as asserted.")
@click.option("--policy", help="Whose rollouts these are, says you; recorded as asserted.")
@click.option("--engine-name", "engine", help="What ran the teacher, such as sglang, says you.")
@click.option("--dtype", help="What the teacher ran in, such as bfloat16, says you.")
@click.option(
    "--on-error",
    type=click.Choice(ON_ERROR),
    default="skip",
    show_default=True,
    help="Rows that cannot be used: list them in the artifact, or stop.",
)
@click.option(
    "--shard-tokens",
    type=click.IntRange(1),
    default=SHARD_TOKENS,
    show_default=True,
    help="Prompt and response tokens in a shard of the artifact.",
)
@store_option
@as_json
def import_(
    path: Path,
    layout: str,
    ref: str,
    kind: str,
    on_error: str,
    shard_tokens: int,
    root: Path,
    json_wanted: bool,  # noqa: FBT001 - a flag
    **said: str | None,
) -> None:
    """Keep the rows of FILE, which another tool wrote, as an artifact.

    What the file cannot say (who the teacher is, above all) is unknown, or asserted by an option;
    neither counts as known, and lopd-train refuses such a signal.
    """
    store = open_store(root, create=True)
    with Bar() as progress:
        claims = _claims(store, **said)
        made = import_file(
            store,
            path,
            format=layout,
            ref=ref,
            claims=claims,
            kind=kind,
            options=JobOptions(on_error=on_error, shard_tokens=shard_tokens),
            progress=progress,
        )
    if json_wanted:
        print_json(made.to_json() | {"ref": ref})
    else:
        echo(f"{ref} {made.built.artifact}")
    for line in (*_counts(ref, made), *_standing(made), *_advice(ref, made.identity)):
        echo(line, err=True)


def _claims(
    store: Store,
    *,
    tokenizer: str | None,
    teacher: str | None,
    policy: str | None,
    engine: str | None,
    dtype: str | None,
) -> Claims:
    return Claims(
        tokenizer=NamedTokenizer.open(tokenizer) if tokenizer else None,
        teacher=fingerprint(teacher, cache=store.fingerprints) if teacher else None,
        policy=fingerprint(policy, cache=store.fingerprints) if policy else None,
        engine=engine,
        dtype=dtype,
    )


def _counts(ref: str, made: Import) -> Iterator[str]:
    built = made.built
    if built.duplicates:
        yield f"rows that repeat an earlier sample, kept: {built.duplicates:,}"
    if built.skipped:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in built.skipped.items())
        total = sum(built.skipped.values())
        yield f"skipped {total:,} ({reasons}): lopd-store show {ref} --skipped"


def _standing(made: Import) -> Iterator[str]:
    """What is asserted and what nobody knows, loudly."""
    identity = made.identity
    imported: dict[str, Any] = identity.imported.to_json() if identity.imported else {}
    tokenizer = identity.tokenizer.to_json() if identity.tokenizer else None
    yield "WARNING: what the file does not prove is recorded as asserted or unknown:"
    for fact in ("teacher", "scoring", "policy", "sampling", "eos"):
        if text := claim_text(fact, imported):
            yield f"  {fact:<10} {text}{_ends(made) if fact == 'eos' else ''}"
    yield f"  {'tokenizer':<10} {tokenizer_text(tokenizer, imported)}"
    if imported.get("retokenised"):
        yield "  ids        RETOKENISED: made from text, they need not be those that were sampled"


def _ends(made: Import) -> str:
    stopped, rows = made.finish_reasons.get("stop", 0), made.built.rows
    return f" whether kept; {stopped:,} of {rows:,} responses are known to have stopped"


def _advice(ref: str, identity: Identity) -> Iterator[str]:
    if identity.kind != "signal":
        yield f"next: lopd-store build {ref} --teacher SFT_TEACHER -o NEW"
        return
    yield (
        "lopd-train refuses this signal (exit 6). To train: lopd-store build"
        f" {ref} --teacher SFT_TEACHER -o NEW scores the rows again;"
    )
    yield (
        f"  or see whether a teacher gives these numbers: lopd-store verify {ref} --teacher T"
        f" --rescore {RESCORED}, and go on with --allow-inconsistent-teacher, which is recorded"
    )
