"""Options that several commands share, each said once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from lopd_store.building.job import Share
from lopd_store.building.options import ON_ERROR, EngineOptions, JobOptions
from lopd_store.errors import FormatError, UsageError
from lopd_store.shards.writer import SHARD_TOKENS
from lopd_store.store import DEFAULT_ROOT, Store

Command = TypeVar("Command", bound=Callable[..., Any])

store_option = click.option(
    "--store",
    "root",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="LOPD_STORE",
    default=DEFAULT_ROOT,
    show_default=True,
    show_envvar=True,
    help="The store's folder.",
)


def open_store(root: Path, *, create: bool = False) -> Store:
    """The store at a path a person typed."""
    return Store.open(root.expanduser(), create=create)


def engine_options(command: Command) -> Command:
    """Options on how a model is run; read them with `engine_of`."""
    for option in reversed(
        (
            click.option(
                "--dtype",
                default="auto",
                show_default=True,
                help="auto is the checkpoint's own; float32, bfloat16, float16.",
            ),
            click.option("--quantization", help="vLLM's name for it; default the checkpoint's."),
            click.option(
                "--tensor-parallel-size",
                type=click.IntRange(1),
                default=1,
                show_default=True,
                help="GPUs that share one copy of the model.",
            ),
            click.option(
                "--engine-args",
                default="{}",
                metavar="JSON",
                help="Further arguments of the engine, such as '{\"max_model_len\": 8192}'.",
            ),
        )
    ):
        command = option(command)
    return command


def job_options(command: Command) -> Command:
    """Options on how a long job is cut; read them with `job_of`."""
    for option in reversed(
        (
            click.option(
                "--chunk-tokens",
                type=click.IntRange(1),
                help="Tokens kept together; default about a minute's work.",
            ),
            click.option(
                "--shard-tokens",
                type=click.IntRange(1),
                default=SHARD_TOKENS,
                show_default=True,
                help="Prompt and response tokens in a shard of the artifact.",
            ),
            click.option(
                "--on-error",
                type=click.Choice(ON_ERROR),
                default="skip",
                show_default=True,
                help="Rows that cannot be used: list them in the artifact, or stop.",
            ),
            click.option(
                "--shard",
                "share",
                default="1/1",
                metavar="i/n",
                help="Work on each n-th chunk only; the run that finds all done publishes.",
            ),
        )
    ):
        command = option(command)
    return command


def engine_of(given: dict[str, Any], **more: Any) -> EngineOptions:
    """The engine options among a command's parameters, taken out of `given`."""
    return EngineOptions(
        dtype=given.pop("dtype"),
        quantization=given.pop("quantization"),
        tensor_parallel_size=given.pop("tensor_parallel_size"),
        engine_args=_object(given.pop("engine_args")),
        **more,
    )


def job_of(given: dict[str, Any]) -> JobOptions:
    """The job options among a command's parameters, taken out of `given`."""
    try:
        share = Share.parse(given.pop("share"))
    except FormatError as error:
        raise UsageError(f"--shard: {error}") from error
    return JobOptions(
        chunk_tokens=given.pop("chunk_tokens"),
        shard_tokens=given.pop("shard_tokens"),
        on_error=given.pop("on_error"),
        share=share,
    )


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--engine-args: expected JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"--engine-args: expected a JSON object, found {text!r}")
    return value
