"""A signal goes out and comes back: the same ids and the same float32, bit for bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from lopd_store.adapters.exporting import export
from lopd_store.artifacts import load
from lopd_store.errors import FormatError, UsageError
from lopd_store.identity.model import Fingerprint
from lopd_store.importing import Claims, NamedTokenizer, import_file
from lopd_store.inputs.rollouts import rollouts_from_store
from lopd_store.signals import open_signal
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from tests.building.chain import (
    build_signal,
    identity_of,
    publish,
    publish_rollouts,
    random_rows,
    rows_in,
    rows_of,
)
from tests.importing.files import as_its_trainer_reads, ids_of, text_of, write_lines
from tests.models import EOS
from tests.train.signals_made import masked_rows

LOGPROBS = ("teacher_logprobs", "rollout_logprobs")
EXACT = ("prompt_ids", "response_ids", *LOGPROBS)


def rollouts(folder: Path, *, count: int = 30, seed: int = 3) -> pa.RecordBatch:
    """Rows whose prompts are text, as a chat template gives them."""
    chance = np.random.default_rng(seed)
    prompts = [ids_of(folder, text_of(number)) for number in range(count)]
    responses = [chance.integers(5, 267, chance.integers(1, 20)).tolist() for _ in prompts]
    for response in responses[::3]:
        response.append(EOS)
    logprobs = [(-chance.exponential(1.0, len(r))).astype(np.float32).tolist() for r in responses]
    return rows_of(prompts, responses, rollout_logprobs=logprobs)


@pytest.fixture
def signal(empty: Store, student: Fingerprint, teacher: Fingerprint) -> Store:
    """A store with a signal of several shards."""
    publish_rollouts(empty, student, [rollouts(student.folder)])
    build_signal(empty, teacher, shard_tokens=200)
    assert len(load(empty, "signal").shards) > 1
    return empty


def exported(store: Store, path: Path, name: str, ref: str = "signal") -> Path:
    export(open_signal(ref, root=store.root), path, format=name)
    return path


def rows(store: Store, ref: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rows_in(store, ref).to_pylist()
    return found


def only(found: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{name: row[name] for name in names} for row in found]


def test_the_releases_own_loader_holds_what_is_stored(
    signal: Store, student: Fingerprint, tmp_path: Path
) -> None:
    path = exported(signal, tmp_path / "out.parquet", "lightning-opd")
    stored = rows(signal, "signal")
    for sample, row in zip(as_its_trainer_reads(path, student.folder), stored, strict=True):
        assert sample.tokens == row["prompt_ids"] + row["response_ids"]
        assert sample.response_length == len(row["response_ids"])
        # a student equal to the teacher: its advantage is nought at every token, in float32
        assert sample.teacher_log_probs == row["teacher_logprobs"]
        assert sample.rollout_log_probs == row["rollout_logprobs"]


def test_the_file_has_the_releases_own_types(signal: Store, tmp_path: Path) -> None:
    schema = pq.read_schema(exported(signal, tmp_path / "out.parquet", "lightning-opd"))
    assert schema.names == ["prompt", "label", "metadata"]
    types = {field.name: str(field.type) for field in schema.field("metadata").type}
    assert list(types) == [
        "is_lightning_opd",
        "response_tokens",
        "loss_mask",
        "response",
        "teacher_log_probs",
        "student_log_probs",
    ]
    assert {name: kind.replace("element", "item") for name, kind in types.items()} == {
        "is_lightning_opd": "bool",
        "response_tokens": "list<item: int64>",
        "loss_mask": "list<item: int64>",
        "response": "string",
        "teacher_log_probs": "list<item: double>",
        "student_log_probs": "list<item: double>",
    }


def test_through_the_releases_file_and_back_nothing_of_the_rows_is_lost(
    signal: Store, tokenizer: NamedTokenizer, tmp_path: Path
) -> None:
    path = exported(signal, tmp_path / "out.parquet", "lightning-opd")
    claims = Claims(tokenizer=tokenizer)
    import_file(signal, path, format="lightning-opd", ref="back", claims=claims)
    back, first = rows(signal, "back"), rows(signal, "signal")
    assert only(back, "sample_id", *EXACT) == only(first, "sample_id", *EXACT)
    again = exported(signal, tmp_path / "again.parquet", "lightning-opd", "back")
    assert pq.read_table(again).equals(pq.read_table(path))


def test_through_json_lines_and_back_every_row_is_as_it_was(
    signal: Store, tmp_path: Path, student: Fingerprint
) -> None:
    path = exported(signal, tmp_path / "out.jsonl", "jsonl")
    import_file(signal, path, format="jsonl", ref="back")
    assert rows(signal, "back") == rows(signal, "signal")
    signals = [load(signal, ref).document for ref in ("signal", "back")]
    assert len({document.content_digest for document in signals}) == 1
    assert student.model not in load(signal, "back").identities[0].models.values()


def test_json_lines_keep_rows_without_a_trained_token(
    empty: Store, student: Fingerprint, teacher: Fingerprint, tmp_path: Path
) -> None:
    publish_rollouts(empty, student, [masked_rows(random_rows(20), every=1)])
    build_signal(empty, teacher)
    path = exported(empty, tmp_path / "out.jsonl", "jsonl")
    import_file(empty, path, format="jsonl", ref="back")
    assert rows(empty, "back") == rows(empty, "signal")
    assert not any(any(row["loss_mask"]) for row in rows(empty, "back"))


FLOATS = st.floats(max_value=0.0, width=32, allow_nan=False, allow_infinity=False).filter(
    lambda value: value != -9999.0
)
IDS = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=5)


@given(data=st.data())
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_signal_survives_json_lines(data: st.DataObject, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("any")
    store = Store.open(folder / "store", create=True, sync=no_sync)
    given_rows = []
    for _ in range(data.draw(st.integers(1, 4))):
        response = data.draw(IDS)
        same = len(response)
        logprobs = data.draw(st.lists(FLOATS, min_size=same, max_size=same))
        given_rows.append(
            {
                "prompt_ids": data.draw(IDS),
                "response_ids": response,
                "teacher_logprobs": [value + 0.0 for value in logprobs],
                "finish_reason": data.draw(st.sampled_from(["stop", "length", "abort", "unknown"])),
            }
        )
    write_lines(folder / "in.jsonl", given_rows)
    import_file(store, folder / "in.jsonl", format="jsonl", ref="in")
    import_file(
        store, exported(store, folder / "o.jsonl", "jsonl", "in"), format="jsonl", ref="out"
    )
    first, second = rows(store, "in"), rows(store, "out")
    assert only(first, *given_rows[0]) == given_rows
    assert second == first


def test_a_prompt_that_no_text_gives_is_not_exported_as_another(
    empty: Store, student: Fingerprint, teacher: Fingerprint, tmp_path: Path
) -> None:
    pieces = Tokenizer.from_file(str(student.folder / "tokenizer.json")).get_vocab()
    letters = [pieces["t"], pieces["h"]]  # it would merge them
    bad = rows_of([letters], [[7, 8]], rollout_logprobs=[[-1.0, -2.0]])
    publish_rollouts(empty, student, [rollouts(student.folder, count=3), bad])
    build_signal(empty, teacher)
    with pytest.raises(FormatError, match="prompt ids that a text gives back"):
        exported(empty, tmp_path / "out.parquet", "lightning-opd")
    assert list(tmp_path.glob("*out.parquet*")) == []


def test_ids_that_only_the_rows_own_text_gives_go_out_as_that_text(
    empty: Store, tmp_path: Path, tokenizer: NamedTokenizer, teacher: Fingerprint
) -> None:
    ids = ids_of(tokenizer.folder, text_of(1))
    row = {"prompt_ids": ids, "response_ids": [7], "teacher_logprobs": [-1.0]}
    path = write_lines(tmp_path / "in.jsonl", [row | {"prompt_text": "a lie"}])
    import_file(empty, path, format="jsonl", ref="signal", claims=Claims(teacher=teacher))
    out = exported(empty, tmp_path / "out.parquet", "lightning-opd")
    assert pq.read_table(out).column("prompt").to_pylist() == [text_of(1)]


def test_what_the_releases_trainer_does_not_take_is_not_exported(
    empty: Store, student: Fingerprint, teacher: Fingerprint, tmp_path: Path
) -> None:
    publish_rollouts(empty, student, [masked_rows(rollouts(student.folder, count=3))])
    build_signal(empty, teacher)
    with pytest.raises(FormatError, match="a loss_mask that is true throughout"):
        exported(empty, tmp_path / "out.parquet", "lightning-opd")
    with pytest.raises(UsageError, match="expected kind signal"):
        exported(empty, tmp_path / "out.parquet", "lightning-opd", "rollouts")


def test_without_a_tokenizer_no_text_is_made_up(empty: Store, tmp_path: Path) -> None:
    row = {"prompt_ids": [5], "response_ids": [7], "teacher_logprobs": [-1.0]}
    path = write_lines(tmp_path / "in.jsonl", [row])
    import_file(empty, path, format="jsonl", ref="signal")
    with pytest.raises(UsageError, match="none at hand"):
        exported(empty, tmp_path / "out.parquet", "lightning-opd")
    assert exported(empty, tmp_path / "out.jsonl", "jsonl").stat().st_size


def test_other_kinds_go_out_as_json_lines_and_rollouts_come_back(
    empty: Store, student: Fingerprint, tmp_path: Path
) -> None:
    assert student.tokenizer_blob is not None
    batch, sft = random_rows(9), identity_of("sft", student)
    publish(empty, "sft", sft, [batch], tokenizer_blob=student.tokenizer_blob)
    path = exported(empty, tmp_path / "out.jsonl", "jsonl", "sft")
    import_file(empty, path, format="jsonl", ref="back", kind="rollouts")
    assert rows(empty, "back") == rows(empty, "sft")
    assert rollouts_from_store(empty, "back").tokenizer_blob is None
