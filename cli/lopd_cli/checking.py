"""Commands that check: verify, fsck, fingerprint; and stamp, which lets others check."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from lopd_cli.errors import suggesting
from lopd_cli.options import (
    engine_of,
    engine_options,
    open_store,
    store_option,
)
from lopd_cli.output import Bar, as_json, echo, print_json
from lopd_store.artifacts import load
from lopd_store.errors import IntegrityError, UsageError
from lopd_store.identity.model import Fingerprint
from lopd_store.identity.model import fingerprint as fingerprint_of
from lopd_store.keys import read_public
from lopd_store.stamping import write_stamp
from lopd_store.store import Store
from lopd_store.verify.depth import Depth
from lopd_store.verify.remote_teacher import RemoteTeacher, teacher_at
from lopd_store.verify.report import Report
from lopd_store.verify.target import verify_target

DEPTHS = {1: "integrity", 2: "identity", 3: "behaviour", 4: "consistency"}


@click.command()
@click.argument("target")
@click.option("--teacher", help="Compare with this model: a folder, or org/name[@revision].")
@click.option("--rescore", type=click.IntRange(0), default=0, help="Rows to score again.")
@click.option("--student", help="Compare with this checkpoint and the stamp (lopd.json) in it.")
@click.option("--base", help="For a student that is a LoRA adapter: its base model.")
@click.option(
    "--engine",
    type=click.Choice(["vllm", "transformers"]),
    default="vllm",
    show_default=True,
    help="What runs the teacher.",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    metavar="PUB",
    help="Ask for a signature by the owner of this public key (see sign).",
)
@click.option(
    "--deep",
    is_flag=True,
    help="Download and read what is on the Hub: rows, and the weights of the teacher.",
)
@click.option(
    "--accept-moved",
    is_flag=True,
    help="Take a tag that has moved, or a branch that was rewound, since it was last seen.",
)
@engine_options
@store_option
@as_json
def verify(
    target: str,
    teacher: str | None,
    rescore: int,
    student: str | None,
    base: str | None,
    engine: str,
    root: Path,
    json_wanted: bool,  # noqa: FBT001 - a flag
    **given: Any,
) -> None:
    """Verify TARGET: a ref, an id, a store's folder, Parquet files, or a name on the Hub.

    On the Hub (org/name[/config[/split]][@revision][@sha256:ID]) documents are read, and files are
    compared by the digests and sizes that the Hub lists, without downloading them; so is a teacher
    there. --deep downloads and reads everything, as --rescore does.

    Depth 1 checks every byte and value; --teacher adds depth 2, who scored it; --rescore adds
    depth 3, whether that teacher gives these numbers; --student adds depth 4, whether that
    teacher wrote the student's SFT data and the student sampled these rollouts. --key asks, at
    any depth, who stands behind the artifact: a chain made up with care passes all the others.
    """
    if base is not None and student is None:
        raise UsageError("--base: expected a student that it is under (--student), found none")
    depth = Depth(
        teacher=_teacher(teacher, near=given["deep"] or rescore > 0, cache=_cache(root)),
        student=fingerprint_of(student, base=base, cache=_cache(root)) if student else None,
        rescore=rescore,
        engine=engine_of(given, engine=engine),
        key=read_public(given["key"]) if given["key"] else None,
        deep=given["deep"],
    )
    folder = root.expanduser()
    with suggesting(Store(folder), target, hub_too=True), Bar() as progress:
        report = verify_target(
            target, root=folder, depth=depth, accept_moved=given["accept_moved"], progress=progress
        )
    _print_report(report, json_wanted=json_wanted)


def _teacher(
    name: str | None, *, near: bool, cache: Path | None
) -> Fingerprint | RemoteTeacher | None:
    if name is None:
        return None
    return fingerprint_of(name, cache=cache) if near else teacher_at(name, cache=cache)


def _cache(root: Path) -> Path | None:
    """Where there is no store, nothing is remembered: looking at a file must not make one."""
    store = Store(root.expanduser())
    return store.fingerprints if store.work.is_dir() else None


def _print_report(report: Report, *, json_wanted: bool) -> None:
    if json_wanted:
        print_json(report.to_json())
    else:
        for note in report.notes:
            echo(f"note: {note}", err=True)
        for text in _problem_lines(report):
            echo(text)
        verdict = "ok" if report.ok else f"{len(report.problems)} problem(s)"
        how = ", at a distance" if report.at_a_distance else ""
        echo(f"{_subject(report)}: {verdict} (depth {report.depth}, {DEPTHS[report.depth]}{how})")
    click.get_current_context().exit(report.exit_code)


def _subject(report: Report) -> str:
    """What was verified; of one artifact with its whole id, which can be pinned."""
    if len(report.artifacts) != 1 or str(report.artifacts[0].id) in report.target:
        return report.target
    return f"{report.target} {report.artifacts[0].id}"


def _problem_lines(report: Report) -> Iterator[str]:
    """A line a problem; a broken chain with both sides and what to do."""
    in_chain = report.chain.problems if report.chain else ()
    yield from (str(problem) for problem in report.problems if problem not in in_chain)
    if report.chain is not None:
        yield from report.chain.lines()


@click.command()
@store_option
@as_json
def fsck(root: Path, json_wanted: bool) -> None:  # noqa: FBT001 - a flag
    """Rehash every blob of the store and look for everything that is missing or out of place."""
    store = open_store(root)
    report = Report(target=str(store.root))
    report.add(IntegrityError, store.fsck())
    _print_report(report, json_wanted=json_wanted)


@click.command()
@click.argument("model")
@click.option("--base", help="For a LoRA adapter: its base model.")
@click.option("--rehash", is_flag=True, help="Read every byte, whatever is remembered.")
@store_option
@as_json
def fingerprint(
    model: str,
    base: str | None,
    root: Path,
    rehash: bool,  # noqa: FBT001 - a flag
    json_wanted: bool,  # noqa: FBT001 - a flag
) -> None:
    """Say who MODEL is: a folder, or org/name[@revision]."""
    found = fingerprint_of(model, base=base, cache=_cache(root), rehash=rehash)
    if json_wanted:
        print_json(
            {
                "model": found.model.to_json(),
                "tokenizer": found.tokenizer.to_json() if found.tokenizer else None,
            }
        )
        return
    source = found.model.source
    click.echo(f"weights    {found.model.weights_digest}")
    click.echo(f"config     {found.model.config_digest}")
    click.echo(f"vocabulary {found.model.vocab_size:,} rows")
    click.echo(f"source     {f'{source.repo}@{source.commit}' if source else 'a local folder'}")
    if found.tokenizer:
        click.echo(f"tokenizer  {found.tokenizer.core_digest}")


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--sft", required=True, metavar="REF", help="The sft artifact it was trained on.")
@click.option("--base", help="The model it was trained from: a folder, or org/name[@revision].")
@store_option
def stamp(checkpoint: Path, sft: str, base: str | None, root: Path) -> None:
    """Write lopd.json into CHECKPOINT: the teacher of its SFT data, asserted by you."""
    store = open_store(root)
    with suggesting(store, sft):
        artifact = load(store, sft)
    made = write_stamp(
        checkpoint,
        how="asserted",
        manifest=artifact.manifest,
        artifact=artifact.document,
        identities=artifact.identities,
        base=fingerprint_of(base, cache=store.fingerprints).model if base else None,
        cache=store.fingerprints,
    )
    click.echo(f"{checkpoint}/lopd.json {made.digest}")
