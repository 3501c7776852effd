"""What a card counts is what NumPy and DuckDB count over all rows at once."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from lopd_store.artifacts import load
from lopd_store.errors import FormatError
from lopd_store.identity.model import Fingerprint, fingerprint
from lopd_store.publishing.card.statistics import BIN, BINS, QUANTILES, Statistics, measure
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from tests.building.chain import identity_of, publish, random_rows, rows_in, rows_of
from tests.models import save_model
from tests.train.signals_made import Made, make_signals


@pytest.fixture(scope="module", params=[False, True], ids=["unmasked", "masked"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("signals")
    return make_signals(folder, rows=60, masked=request.param, shard_tokens=200)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Fingerprint:
    return fingerprint(str(save_model(tmp_path_factory.mktemp("models") / "teacher")))


def measured(store: Store, ref: str) -> Statistics:
    return measure(load(store, ref).open_shards())


def flat(table: pa.Table, name: str) -> Any:
    """Every item of a column at trained positions, float64."""
    column = np.concatenate([np.asarray(row, float) for row in table.column(name).to_pylist()])
    if "loss_mask" not in table.column_names:
        return column
    return column[np.concatenate(table.column("loss_mask").to_pylist())]


def test_counts_are_those_of_the_rows(made: Made) -> None:
    table, found = rows_in(made.store, "signal"), measured(made.store, "signal")
    responses = [len(ids) for ids in table.column("response_ids").to_pylist()]
    prompts = [len(ids) for ids in table.column("prompt_ids").to_pylist()]
    reasons = table.column("finish_reason").to_pylist()

    assert len(load(made.store, "signal").shards) > 1
    assert (found.rows, found.tokens, found.prompt_tokens) == (60, sum(responses), sum(prompts))
    assert found.trained == len(flat(table, "teacher_logprobs"))
    assert dict(found.finish_reasons) == {one: reasons.count(one) for one in ("stop", "length")}
    assert found.lengths == tuple(
        np.quantile(responses, share, method="inverted_cdf") for share in QUANTILES
    )


@pytest.mark.parametrize("column", ["teacher_logprobs", "rollout_logprobs"])
def test_log_probs_are_summed_up_as_numpy_sums_them_up_in_float64(made: Made, column: str) -> None:
    table, found = rows_in(made.store, "signal"), measured(made.store, "signal")
    values = flat(table, column)
    one = next(one for one in found.logprobs if one.column == column)

    assert one.tokens == len(values) == found.trained
    assert one.mean == pytest.approx(values.mean(), rel=1e-12)
    assert one.lowest == values.min()
    assert one.confident == (np.exp(values) > 0.99).mean()
    edges = [-np.inf, *(-BIN * np.arange(BINS, -1, -1))]
    below = [np.count_nonzero(values <= edge) for edge in edges]
    assert one.bins == tuple(np.diff(below)[::-1])


def test_the_advantage_is_teacher_less_sampler_at_trained_tokens(made: Made) -> None:
    table, found = rows_in(made.store, "signal"), measured(made.store, "signal")
    gap = flat(table, "teacher_logprobs") - flat(table, "rollout_logprobs")
    assert found.advantage == pytest.approx(gap.mean(), rel=1e-12)


def test_duckdb_finds_the_same_quantiles_and_bins(made: Made) -> None:
    found = measured(made.store, "signal")
    table = rows_in(made.store, "signal")
    if "loss_mask" not in table.column_names:
        everything = [[True] * len(ids) for ids in table.column("response_ids").to_pylist()]
        table = table.append_column("loss_mask", pa.array(everything))
    query = """
        with tokens as (
            select unnest(teacher_logprobs)::double as x, unnest(loss_mask) as trained from rows
        )
        select (select quantile_disc(len(response_ids), $shares) from rows),
               (select map_from_entries(list((place, n)))
                from (select least(floor(-x / $bin), $bins)::int as place, count(*) as n
                      from tokens where trained group by place))
    """
    parameters = {"shares": list(QUANTILES), "bin": BIN, "bins": BINS}
    with duckdb.connect() as connection:
        connection.register("rows", table)
        row = connection.execute(query, parameters).fetchone()
    assert row is not None
    assert tuple(row[0]) == found.lengths
    assert row[1] == {place: n for place, n in enumerate(found.logprobs[0].bins) if n}


def test_where_shards_end_changes_nothing(tmp_path: Path, teacher: Fingerprint) -> None:
    store = Store.open(tmp_path, create=True, sync=no_sync)
    blob = teacher.tokenizer_blob
    assert blob is not None
    found = []
    for tokens in (50, 1 << 20):
        identity = identity_of("sft", teacher)
        rows = [random_rows(40)]
        publish(store, f"{tokens}", identity, rows, tokenizer_blob=blob, shard_tokens=tokens)
        found.append(measured(store, f"{tokens}"))
    many, one = found
    assert [s.bins for s in many.logprobs] == [s.bins for s in one.logprobs]
    assert many.logprobs[0].mean == pytest.approx(one.logprobs[0].mean, rel=1e-14)
    assert (many.rows, many.lengths, many.finish_reasons) == (
        one.rows,
        one.lengths,
        one.finish_reasons,
    )


@pytest.mark.parametrize("ref", ["rollouts", "sft"])
def test_rows_that_nobody_scored_have_no_advantage(made: Made, ref: str) -> None:
    found = measured(made.store, ref)
    assert [one.column for one in found.logprobs] == ["rollout_logprobs"]
    assert found.advantage is None


def test_rows_without_any_log_prob_are_counted_all_the_same(
    tmp_path: Path, teacher: Fingerprint
) -> None:
    found = of_rows(tmp_path, teacher, rows_of([[5], [6, 7]], [[8], [9, 10, 11]]))
    assert (found.rows, found.tokens, found.trained) == (2, 4, 4)
    assert (found.logprobs, found.advantage) == ((), None)


def test_an_edge_of_a_bin_belongs_to_the_bin_below(tmp_path: Path, teacher: Fingerprint) -> None:
    just_above = float(np.nextafter(np.float32(-0.25), np.float32(0)))
    values = [[0.0, just_above, -0.25, -11.99, -12.0, -5000.0]]
    rows = rows_of([[5]], [[8] * 6], rollout_logprobs=values)
    bins = of_rows(tmp_path, teacher, rows).logprobs[0].bins
    assert {place: n for place, n in enumerate(bins) if n} == {0: 2, 1: 1, 47: 1, 48: 2}


def test_what_is_masked_everywhere_measures_nothing(tmp_path: Path, teacher: Fingerprint) -> None:
    mask = pa.array([[False, False]], pa.list_(pa.bool_()))
    rows = rows_of([[5]], [[8, 9]], rollout_logprobs=[[0.0, 0.0]], loss_mask=mask)
    found = of_rows(tmp_path, teacher, rows)
    assert (found.tokens, found.trained, found.logprobs) == (2, 0, ())


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 0.5], ids=str)
def test_log_probs_that_are_none_are_refused(
    tmp_path: Path, teacher: Fingerprint, value: float
) -> None:
    rows = rows_of([[5]], [[8, 9]], rollout_logprobs=[[-1.0, value]])
    with pytest.raises(FormatError, match="expected finite rollout_logprobs of at most 0"):
        of_rows(tmp_path, teacher, rows)


def test_lists_of_another_length_are_refused(tmp_path: Path, teacher: Fingerprint) -> None:
    rows = rows_of([[5]], [[8, 9]], rollout_logprobs=[[-1.0]])
    with pytest.raises(FormatError, match="one item of rollout_logprobs for each response id"):
        of_rows(tmp_path, teacher, rows)


def test_a_reason_that_no_engine_gives_is_refused(tmp_path: Path, teacher: Fingerprint) -> None:
    rows = rows_of([[5]], [[8]])
    reason = pa.array(["<script>"])
    rows = rows.set_column(rows.schema.get_field_index("finish_reason"), "finish_reason", reason)
    with pytest.raises(FormatError, match="expected a finish_reason of stop, length"):
        of_rows(tmp_path, teacher, rows)


def of_rows(folder: Path, teacher: Fingerprint, rows: pa.RecordBatch) -> Statistics:
    """What is measured of rows that nobody checked."""
    store = Store.open(folder, create=True, sync=no_sync)
    blob = teacher.tokenizer_blob
    assert blob is not None
    publish(store, "rows", identity_of("sft", teacher), [rows], tokenizer_blob=blob)
    return measured(store, "rows")
