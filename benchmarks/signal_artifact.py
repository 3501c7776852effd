"""A signal artifact of made-up rows that have the sizes and the entropy of real ones."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tokenizers import Tokenizer, models

from benchmarks.list_column import list_column
from lopd_store.building.complete import with_names
from lopd_store.building.publish import Draft, store_artifact
from lopd_store.digest import Digest
from lopd_store.documents.identity import (
    Identity,
    ModelIdentity,
    Sampling,
    Scoring,
    SignalColumn,
    TokenizerIdentity,
)
from lopd_store.identity.tokenizer import identify
from lopd_store.shards.writer import SHARD_TOKENS
from lopd_store.store import Store

VOCABULARY: Final = 151_936
ROWS_A_BATCH: Final = 256
SURE: Final = 0.6  # of tokens that the model is all but certain of
Random = np.random.Generator
Numbers = npt.NDArray[Any]


def make_artifact(root: Path, *, tokens: int, seed: int = 0) -> Digest:
    """Store an artifact of at least `tokens` response tokens under `root` and return its id."""
    store = Store.open(root, create=True)
    reading = identify(Tokenizer(models.BPE(vocab={"a": 0, "b": 1}, merges=[])), folder=root)
    draft = Draft(
        identity=_identity(reading.identity),
        tokenizer_blob=reading.blob,
        lineage=(),
        skipped=(),
        shard_tokens=SHARD_TOKENS,
    )
    return store_artifact(store, draft, _batches(tokens, seed)).digest


def _identity(tokenizer: TokenizerIdentity) -> Identity:
    made_up = Digest.of(b"made up")
    model = ModelIdentity(
        weights_digest=made_up, config_digest=made_up, vocab_size=VOCABULARY, files={}
    )
    scoring = Scoring(
        engine="transformers",
        versions={},
        dtype="float32",
        quantization="none",
        device="cpu",
        logprobs_mode="raw_logprobs",
        tensor_parallel_size=1,
        chunk_tokens=0,
        settings={},
    )
    columns = {
        "policy": ("rollout_logprobs", "sampling"),
        "teacher": ("teacher_logprobs", "teacher"),
    }
    return Identity.of(
        kind="signal",
        models=dict.fromkeys(columns, model),
        tokenizer=tokenizer,
        scorings={"sampling": scoring, "teacher": scoring},
        signals=[
            SignalColumn(column=column, role=role, model=role, scoring=name)
            for role, (column, name) in columns.items()
        ],
        precision="exact",
        sampling=Sampling(temperature="1", top_p="1", max_tokens=4096, seed=0, n=4),
    )


def _batches(tokens: int, seed: int) -> Iterator[pa.RecordBatch]:
    random = np.random.default_rng(seed)
    while tokens > 0:
        rows, held = _rows(random)
        tokens -= held
        yield rows


def _rows(random: Random) -> tuple[pa.RecordBatch, int]:
    prompts = random.integers(60, 340, ROWS_A_BATCH)
    responses = np.clip(random.gamma(4.0, 250.0, ROWS_A_BATCH), 16, 4096).astype(np.int64)
    total = int(responses.sum())
    policy = _logprobs(random, total)
    moved = np.where(policy < -0.01, random.normal(0, 0.3, total), 0.0)
    teacher = np.minimum(policy + moved, -1e-6).astype(np.float32)
    finished = np.where(random.random(ROWS_A_BATCH) < 0.9, "stop", "length")
    columns: dict[str, Any] = {
        "prompt_ids": list_column(_ids(random, int(prompts.sum())), prompts),
        "response_ids": list_column(_ids(random, total), responses),
        "teacher_logprobs": list_column(teacher, responses),
        "rollout_logprobs": list_column(policy, responses),
        "finish_reason": pa.array(finished.tolist()),
    }
    return with_names(pa.record_batch(columns)), total


def _logprobs(random: Random, count: int) -> Numbers:
    spread = np.where(random.random(count) < SURE, 0.01, 1.2)
    return (-random.exponential(spread)).astype(np.float32)


def _ids(random: Random, count: int) -> Numbers:
    return (random.zipf(1.2, count) % VOCABULARY).astype(np.int32)
