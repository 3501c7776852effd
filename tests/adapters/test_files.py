"""What the exported files hold: every stored number, whose rows they are, and the same bytes."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lopd_store.adapters import adapter
from lopd_store.adapters.exporting import export
from lopd_store.adapters.source import Source
from lopd_store.importing import Claims, NamedTokenizer, import_file
from lopd_store.rows.columns import ordered
from lopd_store.shard_sets import open_shard_set
from lopd_store.shards.writer import write_shards
from lopd_store.signals import Signal, open_signal
from tests.adapters.alike import Model
from tests.building.chain import build_signal, publish_rollouts, random_rows, rows_in
from tests.train.signals_made import Made, make_signals, masked_rows

OURS = ("slime", "trl", "verl")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Several shards with several row groups in the store, a third of the positions masked."""
    return make_signals(tmp_path_factory.mktemp("made"), rows=90, masked=True, shard_tokens=300)


@pytest.fixture(scope="module")
def signal(made: Made) -> Signal:
    return open_signal("signal", root=made.store.root)


@pytest.fixture(scope="module")
def stored(made: Made) -> list[dict[str, Any]]:
    """The rows with something to learn, as DuckDB reads them from the shards."""
    return [row for row in rows_in(made.store, "signal").to_pylist() if any(row["loss_mask"])]


def read(signal: Signal, name: str, folder: Path) -> list[dict[str, Any]]:
    export(signal, folder / "out.parquet", format=name)
    found: list[dict[str, Any]] = pq.read_table(folder / "out.parquet").to_pylist()
    return found


def ones(row: dict[str, Any]) -> list[int]:
    return [int(on) for on in row["loss_mask"]]


def test_the_file_for_slime_has_the_fields_of_its_samples(
    signal: Signal, stored: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert read(signal, "slime", tmp_path) == [
        {
            "prompt": "",
            "metadata": {
                "sample_id": row["sample_id"],
                "tokens": row["prompt_ids"] + row["response_ids"],
                "response_length": len(row["response_ids"]),
                "loss_mask": ones(row),
                "rollout_log_probs": row["rollout_logprobs"],
                "teacher_log_probs": row["teacher_logprobs"],
                "finish_reason": row["finish_reason"],
            },
        }
        for row in stored
    ]


def test_the_file_for_trl_has_lists_of_one_length(
    signal: Signal, stored: list[dict[str, Any]], tmp_path: Path
) -> None:
    expected = []
    for row in stored:
        prompt, response = row["prompt_ids"], row["response_ids"]
        zeros = [0.0] * len(prompt)
        learnt = [i if on else -100 for i, on in zip(response, row["loss_mask"], strict=True)]
        expected.append(
            {
                "sample_id": row["sample_id"],
                "input_ids": prompt + response,
                "labels": [-100] * len(prompt) + learnt,
                "teacher_logprobs": zeros + row["teacher_logprobs"],
                "rollout_logprobs": zeros + row["rollout_logprobs"],
            }
        )
    assert read(signal, "trl", tmp_path) == expected


def test_the_file_for_verl_has_what_its_dataset_and_rewards_read(
    signal: Signal, stored: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert read(signal, "verl", tmp_path) == [
        {
            "data_source": "lopd",
            "prompt": [{"role": "user", "content": ""}],
            "reward_model": {"style": "rule", "ground_truth": ""},
            "extra_info": {
                "index": number,
                "sample_id": row["sample_id"],
                "finish_reason": row["finish_reason"],
                "prompt_ids": row["prompt_ids"],
                "response_ids": row["response_ids"],
                "response_mask": ones(row),
                "teacher_logprobs": row["teacher_logprobs"],
                "rollout_log_probs": row["rollout_logprobs"],
            },
        }
        for number, row in enumerate(stored)
    ]


@pytest.mark.parametrize("name", OURS)
def test_a_file_says_whose_rows_it_holds(
    name: str, signal: Signal, made: Made, tmp_path: Path
) -> None:
    made_of = export(signal, tmp_path / "out.parquet", format=name).source
    footer = pq.read_metadata(tmp_path / "out.parquet").metadata[b"lopd.source"]
    assert json.loads(footer) == made_of
    assert made_of["artifact"] == str(made.signal)
    assert made_of["teachers"] == [str(made.teacher.model.weights_digest)]
    assert made_of["identities"] == [str(signal.identities[0].digest)]


def test_a_teacher_that_is_only_claimed_is_said_to_be(
    signal: Signal, made: Made, tmp_path: Path
) -> None:
    """Out as JSON Lines and in again: who scored is then the importer's word."""
    export(signal, tmp_path / "rows.jsonl", format="jsonl")
    tokenizer = NamedTokenizer.open(str(made.teacher.folder))
    claims = Claims(teacher=made.teacher, tokenizer=tokenizer)
    import_file(made.store, tmp_path / "rows.jsonl", format="jsonl", ref="in", claims=claims)
    again = open_signal("in", root=made.store.root)
    said = export(again, tmp_path / "out.parquet", format="slime").source
    assert said["teachers"] == []
    assert said["claimed_teachers"] == [str(made.teacher.model.weights_digest)]


@pytest.mark.parametrize("name", OURS)
def test_the_same_rows_give_the_same_bytes(name: str, signal: Signal, tmp_path: Path) -> None:
    first = export(signal, tmp_path / "one.parquet", format=name)
    second = export(signal, tmp_path / "two.parquet", format=name)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    assert first.digest == second.digest


@pytest.mark.parametrize("name", OURS)
def test_rows_go_through_a_row_group_at_a_time(name: str, signal: Signal, tmp_path: Path) -> None:
    groups = sum(len(shard.groups) for shard in signal.open_shards())
    assert groups > 2
    export(signal, tmp_path / "out.parquet", format=name)
    assert pq.read_metadata(tmp_path / "out.parquet").num_row_groups == groups


@pytest.mark.parametrize("name", OURS)
def test_a_source_reads_no_row_group_before_it_is_asked_for(name: str, signal: Signal) -> None:
    heard: list[int] = []
    source = Source.of(signal, advance=heard.append)
    next(adapter(name, function="export").export(source))
    assert len(heard) == 1


def test_counts_are_those_of_the_rows(
    signal: Signal, stored: list[dict[str, Any]], tmp_path: Path
) -> None:
    made_of = export(signal, tmp_path / "out.parquet", format="trl")
    assert made_of.rows == len(stored)
    assert made_of.tokens == sum(len(row["response_ids"]) for row in stored)
    assert made_of.left_out == signal.rows - len(stored) > 0
    assert made_of.size == (tmp_path / "out.parquet").stat().st_size


def test_rows_with_nothing_to_learn_are_left_out_and_counted(tmp_path: Path) -> None:
    made = make_signals(tmp_path / "made")
    batch = masked_rows(random_rows(3))
    masks = batch.column("loss_mask").to_pylist()
    masks = [
        [True] * len(mask) if row != 1 else [False] * len(mask) for row, mask in enumerate(masks)
    ]
    columns = {name: batch.column(name) for name in batch.schema.names}
    columns["loss_mask"] = pa.array(masks, pa.list_(pa.bool_()))
    logprobs = batch.column("rollout_logprobs").to_pylist()
    logprobs[1] = [0.0] * len(masks[1])
    columns["rollout_logprobs"] = pa.array(logprobs, pa.list_(pa.float32()))
    publish_rollouts(made.store, made.student, [pa.RecordBatch.from_pydict(columns)], ref="few")
    build_signal(made.store, made.teacher, rollouts="few", ref="scored")
    made_of = export(
        open_signal("scored", root=made.store.root), tmp_path / "out.parquet", format="slime"
    )
    assert (made_of.rows, made_of.left_out) == (2, 1)
    found = [row["metadata"] for row in pq.read_table(tmp_path / "out.parquet").to_pylist()]
    assert [one["loss_mask"] for one in found] == [list(map(int, masks[i])) for i in (0, 2)]


def test_a_mask_that_only_one_shard_has_counts_there(
    signal: Signal, unmasked: tuple[Signal, Model], tmp_path: Path
) -> None:
    """Both shards have the identity of the first; the second one's rows are trained throughout."""
    (one,) = unmasked[0].open_shards()
    masked = next(iter(signal.open_shards()))
    batches = [next(masked.batches()), next(one.batches())]
    for number, batch in enumerate(batches):
        (tmp_path / f"{number}").mkdir()
        [written] = write_shards(
            [batch.select(ordered(batch.schema.names))],
            identity=masked.identity_bytes,
            folder=tmp_path / f"{number}",
        )
        written.path.rename(tmp_path / f"shard-{number}.parquet")
    both = open_shard_set(str(tmp_path), root=None)
    export(both, tmp_path / "out.slime", format="slime")
    found = [row["metadata"] for row in pq.read_table(tmp_path / "out.slime").to_pylist()]
    expected = [ones(row) for row in batches[0].to_pylist() if any(row["loss_mask"])]
    expected += [[1] * len(row["response_ids"]) for row in batches[1].to_pylist()]
    assert [one["loss_mask"] for one in found] == expected


def test_texts_for_people_are_the_prompts_where_there_are_any(tmp_path: Path) -> None:
    made = make_signals(tmp_path / "made")
    texts = pa.array(["one plus one?", None, "three"])
    publish_rollouts(made.store, made.student, [random_rows(3, prompt_text=texts)], ref="texts")
    build_signal(made.store, made.teacher, rollouts="texts", ref="scored")
    signal = open_signal("scored", root=made.store.root)
    prompts = [row["prompt"] for row in read(signal, "slime", tmp_path)]
    assert prompts == ["one plus one?", "", "three"]
    (tmp_path / "out.parquet").unlink()
    messages = [row["prompt"] for row in read(signal, "verl", tmp_path)]
    assert [one[0]["content"] for one in messages] == prompts
