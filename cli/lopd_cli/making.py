"""Commands that make artifacts: generate, build."""

from pathlib import Path
from typing import Any

import click

from lopd_cli.errors import suggesting
from lopd_cli.options import (
    engine_of,
    engine_options,
    job_of,
    job_options,
    open_store,
    store_option,
)
from lopd_cli.output import Bar, as_json, echo, print_json, size_text
from lopd_store.build import build as build_signal
from lopd_store.build import dry_run as estimate
from lopd_store.building.outcome import Built
from lopd_store.documents.identity import Sampling
from lopd_store.errors import FormatError, UsageError
from lopd_store.generate import generate as generate_rows
from lopd_store.identity.model import Fingerprint
from lopd_store.identity.model import fingerprint as fingerprint_of
from lopd_store.inputs.prompts import prompts_from_file
from lopd_store.inputs.rollouts import open_rollouts
from lopd_store.inputs.text import ModelRenderer
from lopd_store.rows.precision import Precision


@click.command()
@click.option("--model", required=True, help="A folder, or org/name[@revision].")
@click.option(
    "--prompts",
    required=True,
    type=click.Path(path_type=Path, exists=False),
    help="JSONL or Parquet with messages, prompt (raw text) or prompt_ids.",
)
@click.option(
    "--kind",
    required=True,
    type=click.Choice(["sft", "rollouts"]),
    help="A teacher's own responses, or a student's.",
)
@click.option("-o", "--output", "ref", required=True, metavar="REF", help="The result's name.")
@click.option("--n", type=click.IntRange(1), default=1, show_default=True, help="Per prompt.")
@click.option("--temperature", default="1", show_default=True, help="0 is greedy.")
@click.option(
    "--top-p",
    default="1",
    show_default=True,
    help="Sample among the fewest tokens that have this much probability together; 1 is all.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(1),
    default=4096,
    show_default=True,
    help="The longest response.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="The same seed gives the same responses.",
)
@engine_options
@job_options
@store_option
@as_json
def generate(  # noqa: PLR0913, PLR0917 - one parameter an option
    model: str,
    prompts: Path,
    kind: str,
    ref: str,
    n: int,
    temperature: str,
    top_p: str,
    max_tokens: int,
    seed: int,
    root: Path,
    json_wanted: bool,  # noqa: FBT001 - a flag
    **given: Any,
) -> None:
    """Sample responses with vLLM: exact ids and the sampler's log-probs are kept."""
    store = open_store(root, create=True)
    engine, options = engine_of(given), job_of(given)
    sampling = _sampling(
        temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed, n=n
    )
    with Bar() as progress:
        source = fingerprint_of(model, cache=store.fingerprints)
        progress.say(f"loading {model}")
        built = generate_rows(
            store,
            prompts_from_file(prompts, _renderer(source)),
            source,
            kind=kind,
            ref=ref,
            sampling=sampling,
            engine=engine,
            options=options,
            progress=progress,
        )
    _print_built(ref, built, json_wanted=json_wanted)


@click.command()
@click.argument("rollouts")
@click.option("--teacher", required=True, help="A folder, or org/name[@revision].")
@click.option("-o", "--output", "ref", required=True, metavar="REF", help="The result's name.")
@click.option(
    "--engine",
    type=click.Choice(["vllm", "transformers"]),
    default="vllm",
    show_default=True,
    help="What runs the teacher.",
)
@click.option(
    "--max-error",
    default="exact",
    show_default=True,
    metavar="2^-12",
    help="Largest rounding error of a log-prob in nats, a power of two; half the size.",
)
@click.option(
    "--data-parallel",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Engines on this machine, each with its own copy of the teacher.",
)
@click.option("--dry-run", is_flag=True, help="Score a few rows; say tokens, bytes and time.")
@engine_options
@job_options
@store_option
@as_json
def build(  # noqa: PLR0913, PLR0917 - one parameter an option
    rollouts: str,
    teacher: str,
    ref: str,
    engine: str,
    max_error: str,
    data_parallel: int,
    dry_run: bool,  # noqa: FBT001 - a flag
    root: Path,
    json_wanted: bool,  # noqa: FBT001 - a flag
    **given: Any,
) -> None:
    """Score ROLLOUTS (a ref, or a Parquet or JSONL file) with a teacher.

    Killed at any moment, the same command goes on where it was.
    """
    store = open_store(root, create=True)
    engine_chosen = engine_of(given, engine=engine, data_parallel=data_parallel)
    options = job_of(given)
    precision = Precision.parse(max_error)
    scored_by = fingerprint_of(teacher, cache=store.fingerprints)
    with suggesting(store, rollouts):
        source = open_rollouts(store, rollouts, _renderer(scored_by))
    with Bar() as progress:
        if source.retokenised:
            progress.say(
                f"WARNING: {rollouts} has text, not token ids: the ids are made here and may not"
                " be those that were sampled; the artifact records it (imported.retokenised)"
            )
        if source.identity and source.identity.kind == "sft":
            progress.say(
                f"{rollouts} is a teacher's own data (kind sft); it is scored as rollouts of that"
                " teacher, not of a student trained on it"
            )
        progress.say(f"loading {teacher}")
        if dry_run:
            _print_estimate(
                estimate(
                    source,
                    scored_by,
                    precision=precision,
                    engine=engine_chosen,
                    options=options,
                ),
                json_wanted=json_wanted,
            )
            return
        built = build_signal(
            store,
            source,
            scored_by,
            ref=ref,
            precision=precision,
            engine=engine_chosen,
            options=options,
            progress=progress,
        )
    _print_built(ref, built, json_wanted=json_wanted)


def _sampling(**given: Any) -> Sampling:
    """Looked at here, so that no engine is opened for nothing."""
    try:
        sampling = Sampling.from_json(given)
    except FormatError as error:
        raise UsageError(str(error)) from error
    if not 0 < float(sampling.top_p) <= 1:
        raise UsageError(f"top_p: expected a number in (0, 1], found {sampling.top_p}")
    return sampling


def _renderer(model: Fingerprint) -> ModelRenderer | None:
    return ModelRenderer(model.folder, model.tokenizer_blob) if model.tokenizer_blob else None


def _print_built(ref: str, built: Built, *, json_wanted: bool) -> None:
    if json_wanted:
        print_json(built.to_json() | {"ref": ref})
    elif built.artifact is None:
        click.echo(f"this share is done; {built.pending_chunks} chunks of other shares are not")
    else:
        click.echo(f"{ref} {built.artifact}")
        if built.duplicates:
            click.echo(f"rows that repeat an earlier sample, kept: {built.duplicates:,}", err=True)
        if built.skipped:
            count = sum(built.skipped.values())
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in built.skipped.items())
            echo(f"skipped {count:,} ({reasons}): lopd-store show {ref} --skipped", err=True)


def _print_estimate(found: dict[str, int], *, json_wanted: bool) -> None:
    if json_wanted:
        print_json(found)
        return
    click.echo(f"rows    {found['rows']:,}, {found['bad_rows']:,} of them cannot be scored")
    click.echo(f"tokens  {found['tokens']:,} in {found['chunks']:,} chunks")
    click.echo(f"bytes   about {size_text(found['bytes'])}")
    click.echo(f"time    about {found['seconds']:,} s at {found['tokens_per_second']:,} tokens/s")
