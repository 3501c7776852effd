"""A chain of artifacts without an engine: a scorer that is arithmetic, rollouts that are random.

Publishing goes through the project's own writers, but nothing here checks rows: a test may make
an artifact that is coherent in every digest and wrong in its numbers.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from lopd_store.artifacts import load, point
from lopd_store.build import build
from lopd_store.building.complete import with_names
from lopd_store.building.options import EngineOptions, JobOptions
from lopd_store.building.outcome import Built
from lopd_store.building.progress import Progress
from lopd_store.building.publish import Draft, store_artifact
from lopd_store.digest import Digest
from lopd_store.documents.identity import Identity, Prompts, Sampling, Scoring, SignalColumn
from lopd_store.engines.protocol import Floats, Scorer, Sequences
from lopd_store.identity.model import Fingerprint
from lopd_store.inputs.rollouts import rollouts_from_store
from lopd_store.rows.precision import Precision
from lopd_store.store import Store

EOS: Final = 2
SCORING: Final[Mapping[str, Any]] = {
    "engine": "arithmetic",
    "versions": {"arithmetic": "1"},
    "dtype": "float32",
    "quantization": "none",
    "device": "cpu",
    "logprobs_mode": "raw_logprobs",
    "tensor_parallel_size": 1,
    "settings": {},
}


def arithmetic(ids: list[int], first: int) -> Floats:
    """A log-prob per id from `first` on: a function of the id, its place and what came before."""
    total, found = sum(ids[:first]), []
    for place in range(first, len(ids)):
        found.append(-((total * 31 + ids[place] * 7 + place) % 997) / 64)
        total += ids[place]
    return np.array(found, np.float32) + np.float32(0.0)


@dataclass
class Arithmetic(Scorer):
    """A `Scorer`. Counts what it is asked, and calls `before` before each answer."""

    vocab_size: int = 320
    max_tokens: int = 512
    calls: list[int] = field(default_factory=list)
    closed: bool = False
    pause: float = 0.0
    shift: float = 0.0

    @property
    def scoring(self) -> Mapping[str, Any]:
        return SCORING

    def score(self, sequences: Sequences) -> list[Floats]:
        time.sleep(self.pause)
        self.calls.append(len(sequences))
        pairs = zip(sequences.prompt.to_pylist(), sequences.response.to_pylist(), strict=True)
        return [
            arithmetic(prompt + response, len(prompt)) - np.float32(self.shift)
            for prompt, response in pairs
        ]

    def close(self) -> None:
        self.closed = True


@dataclass(frozen=True, kw_only=True)
class ArithmeticEngine(EngineOptions):
    """Engine options that open an `Arithmetic`."""

    opened: Arithmetic = field(default_factory=Arithmetic)

    def scorer(self, folder: Path) -> Scorer:
        assert folder.is_dir()
        return self.opened


def random_rows(
    count: int, *, seed: int = 0, longest: int = 24, **more: pa.Array
) -> pa.RecordBatch:
    """Rollouts of ids 5 to 266 with their own log-probs; every third one stops."""
    chance = np.random.default_rng(seed)
    prompts = [chance.integers(5, 267, chance.integers(1, 9)).tolist() for _ in range(count)]
    lengths = chance.integers(1, longest, count)
    responses = [chance.integers(5, 267, length).tolist() for length in lengths]
    for response in responses[::3]:
        response.append(EOS)
    logprobs = [(-chance.exponential(1.0, len(r))).astype(np.float32).tolist() for r in responses]
    return rows_of(prompts, responses, rollout_logprobs=logprobs, **more)


def rows_of(
    prompts: list[list[int]],
    responses: list[list[int]],
    *,
    rollout_logprobs: list[list[float]] | None = None,
    **more: pa.Array,
) -> pa.RecordBatch:
    """Rollouts in the format's own types, with their names and reasons."""
    columns: dict[str, Any] = {
        "prompt_ids": pa.array(prompts, pa.list_(pa.int32())),
        "response_ids": pa.array(responses, pa.list_(pa.int32())),
    }
    if rollout_logprobs is not None:
        columns["rollout_logprobs"] = pa.array(rollout_logprobs, pa.list_(pa.float32()))
    columns["finish_reason"] = ["stop" if ids[-1:] == [EOS] else "length" for ids in responses]
    return with_names(pa.RecordBatch.from_pydict(columns | more))


def identity_of(kind: str, model: Fingerprint, **more: Any) -> Identity:
    """Who made sft data or rollouts, for a model whose sampling was no engine's."""
    role = {"sft": "teacher", "rollouts": "policy"}[kind]
    assert model.tokenizer is not None
    scoring = Scoring.from_json({**SCORING, "chunk_tokens": 0})
    column = SignalColumn(column="rollout_logprobs", role=role, model=role, scoring="sampling")
    facts: dict[str, Any] = {
        "kind": kind,
        "models": {role: model.model},
        "tokenizer": model.tokenizer,
        "scorings": {"sampling": scoring},
        "signals": (column,),
        "precision": "exact",
        "sampling": Sampling(temperature="1", top_p="1", max_tokens=64, seed=0, n=1),
        "prompts": Prompts(digest=Digest.of(b"prompts")),
    }
    return Identity.of(**(facts | more))


def tokenizer_blob_of(store: Store, identity: Identity) -> bytes:
    """The packed tokenizer that an identity names."""
    blob = identity.tokenizer_blob
    assert blob is not None
    return store.blobs.get(blob)


def publish(
    store: Store,
    ref: str,
    identity: Identity,
    rows: Iterable[pa.RecordBatch],
    *,
    tokenizer_blob: bytes,
    shard_tokens: int = 1 << 20,
) -> Digest:
    """Rows as an artifact under a ref, coherent whatever they hold."""
    draft = Draft(
        identity=identity,
        tokenizer_blob=tokenizer_blob,
        lineage=(),
        skipped=(),
        shard_tokens=shard_tokens,
    )
    artifact = store_artifact(store, draft, iter(rows)).digest
    point(store, ref, artifact, expected=store.refs.get(ref))
    return artifact


def publish_rollouts(
    store: Store, policy: Fingerprint, rows: Iterable[pa.RecordBatch], *, ref: str = "rollouts"
) -> Digest:
    """Rollouts of `policy` under a ref."""
    assert policy.tokenizer_blob is not None
    identity = identity_of("rollouts", policy)
    return publish(store, ref, identity, rows, tokenizer_blob=policy.tokenizer_blob)


def build_signal(
    store: Store,
    teacher: Fingerprint,
    *,
    scorer: Arithmetic | None = None,
    rollouts: str = "rollouts",
    ref: str = "signal",
    precision: str = "exact",
    progress: Progress | None = None,
    **options: Any,
) -> Built:
    """`build` with the arithmetic engine, in chunks of 300 tokens."""
    return build(
        store,
        rollouts_from_store(store, rollouts),
        teacher,
        ref=ref,
        precision=Precision.parse(precision),
        engine=ArithmeticEngine(opened=scorer or Arithmetic()),
        options=JobOptions(**({"chunk_tokens": 300, "shard_tokens": 800} | options)),
        progress=progress,
    )


@contextmanager
def set_aside(path: Path) -> Iterator[None]:
    """`path` under another name for a while."""
    aside = path.with_name(path.name + ".aside")
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)


def rows_in(store: Store, ref: str) -> pa.Table:
    """All rows of an artifact, read by DuckDB from the shard files."""
    paths = [str(shard.path) for shard in load(store, ref).open_shards()]
    with duckdb.connect() as connection:
        query = "select * from read_parquet($1)"
        return connection.sql(query, params=[paths]).to_arrow_table()
