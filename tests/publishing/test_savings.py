"""What rounding is said to save is what it then saves."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lopd_store.artifacts import Artifact, load
from lopd_store.errors import UsageError
from lopd_store.identity.model import Fingerprint
from lopd_store.publishing.derive import derive
from lopd_store.publishing.savings import savings
from lopd_store.rows.precision import Precision
from lopd_store.store import Store
from tests.building.chain import identity_of, publish, rows_of

COARSE = Precision.parse("2^-12")


def stored(artifact: Artifact) -> int:
    """Bytes of the log-prob columns, by pyarrow's reading of the footers."""
    found = 0
    for shard in artifact.shards:
        footer = pq.read_metadata(artifact.store.blobs.path(shard.digest))
        for group in range(footer.num_row_groups):
            for column in range(footer.num_columns):
                chunk = footer.row_group(group).column(column)
                if "logprobs" in chunk.path_in_schema:
                    found += chunk.total_compressed_size
    return found


def many(shards: int) -> Iterator[pa.RecordBatch]:
    """Rows of 100 tokens whose log-probs are spread as those of models are."""
    chance = np.random.default_rng(5)
    for _ in range(shards):
        responses = chance.integers(5, 267, (40, 100)).tolist()
        spread = -np.exp(chance.normal(-2.0, 2.0, (40, 100)))
        logprobs = spread.astype(np.float32).tolist()
        yield rows_of([[7]] * 40, responses, rollout_logprobs=logprobs)


@pytest.fixture
def large(store: Store, teacher: Fingerprint) -> Artifact:
    """30 shards of one row group each."""
    identity = identity_of("sft", teacher)
    blob = teacher.tokenizer_blob
    assert blob is not None
    publish(store, "sft", identity, many(30), tokenizer_blob=blob, shard_tokens=101 * 40)
    return load(store, "sft")


def test_where_all_is_sampled_it_is_what_derive_makes(signal: Store) -> None:
    source = load(signal, "signal")
    said = savings(source, COARSE)
    made = derive(signal, source, texts=False, precision=COARSE)
    assert (said.now, said.then) == (stored(source), stored(made))
    assert (said.sampled, said.groups, said.is_exact) == (2, 2, True)
    assert said.to_json()["estimated"] is False


def test_an_estimate_says_so_and_is_close(store: Store, large: Artifact) -> None:
    said = savings(large, COARSE)
    made = derive(store, large, texts=False, precision=COARSE)
    assert (said.sampled, said.groups, said.is_exact) == (8, 30, False)
    assert said.to_json()["estimated"] is True
    assert said.now == stored(large)
    assert said.then == pytest.approx(stored(made), rel=0.02)
    assert said.saved > said.now / 3


def test_what_is_rounded_already_saves_nothing(signal: Store) -> None:
    made = derive(signal, load(signal, "signal"), texts=False, precision=COARSE)
    said = savings(made, COARSE)
    assert (said.saved, said.then, said.is_exact) == (0, stored(made), True)
    assert savings(made, Precision.parse("2^-6")).saved == 0  # derive would refuse


def test_an_artifact_without_log_probs_has_nothing_to_save(
    store: Store, teacher: Fingerprint
) -> None:
    identity = identity_of("sft", teacher)
    blob = teacher.tokenizer_blob
    assert blob is not None
    publish(store, "sft", identity, [rows_of([[7]], [[8, 9]])], tokenizer_blob=blob)
    said = savings(load(store, "sft"), COARSE)
    assert (said.now, said.then, said.saved) == (0, 0, 0)


def test_no_sample_is_refused(signal: Store) -> None:
    with pytest.raises(UsageError, match="at least 1 row group"):
        savings(load(signal, "signal"), COARSE, sample=0)
