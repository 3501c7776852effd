"""What a person says of a file is recorded as asserted, and nothing makes it known."""

from pathlib import Path
from typing import Any

import duckdb
import pytest

from lopd_store.artifacts import load
from lopd_store.documents.identity import Identity
from lopd_store.errors import ConsistencyError, UsageError
from lopd_store.identity.model import Fingerprint, fingerprint
from lopd_store.importing import Claims, NamedTokenizer, import_file
from lopd_store.store import Store
from tests.importing.files import line_rows, release_rows, write_lines, write_release
from tests.models import save_tokenizer
from tests.verify.test_consistency import other_ids

ALL = ("eos", "policy", "sampling", "scoring", "teacher")


def of_lines(store: Store, folder: Path, claims: Claims, **more: Any) -> Identity:
    rows = line_rows(3)
    if more.get("kind") == "rollouts":
        for row in rows:
            del row["teacher_logprobs"]
    path = write_lines(folder / "rows.jsonl", rows)
    more = {"format": "jsonl", "ref": "signal"} | more
    return import_file(store, path, claims=claims, **more).identity


def test_what_nobody_says_is_unknown(empty: Store, tmp_path: Path) -> None:
    identity = of_lines(empty, tmp_path, Claims())
    imported = identity.imported
    assert imported is not None
    assert imported.not_known == ALL
    assert (imported.tokenizer, imported.read_as, imported.retokenised) == (
        "unknown",
        "jsonl",
        False,
    )
    assert (identity.tokenizer, identity.models, identity.scorings) == (None, {}, {})
    assert (identity.signals, identity.sampling, identity.policy_stamp) == ((), None, None)
    assert identity.vocab_size == 2**31
    assert load(empty, "signal").manifest.tokenizers == ()


def test_all_that_is_said_is_asserted_and_nothing_is_known(
    empty: Store, tmp_path: Path, teacher: Fingerprint, student: Fingerprint
) -> None:
    claims = Claims(teacher=teacher, policy=student, engine="sglang", dtype="bfloat16")
    identity = of_lines(empty, tmp_path, claims)
    assert identity.teacher is None
    assert identity.models == {}
    assert identity.claimed("teacher") == teacher.model
    assert identity.claimed("policy") == student.model
    imported = identity.imported
    assert imported is not None
    assert imported.asserted.scoring == {"engine": "sglang", "dtype": "bfloat16"}
    assert imported.not_known == ("eos", "sampling")
    assert imported.tokenizer == "asserted"
    assert identity.tokenizer == teacher.tokenizer
    assert identity.vocab_size == teacher.model.vocab_size


def test_a_lone_shard_says_it_all(
    empty: Store, tmp_path: Path, tokenizer: NamedTokenizer, teacher: Fingerprint
) -> None:
    path = write_release(tmp_path / "f.parquet", release_rows(5))
    claims = Claims(tokenizer=tokenizer, teacher=teacher)
    import_file(empty, path, format="lightning-opd", ref="signal", claims=claims)
    (shard,) = load(empty, "signal").shards
    # DuckDB, which knows nothing of us
    query = "select value from parquet_kv_metadata($1) where key = 'lopd.identity'"
    with duckdb.connect() as connection:
        found = connection.execute(query, [str(empty.blobs.path(shard.digest))]).fetchone()
    assert found is not None
    imported = Identity.parse(found[0]).json["imported"]
    assert imported["read_as"] == "lightning-opd"
    assert imported["retokenised"] is True
    assert imported["unknown"] == ["eos", "policy", "sampling", "scoring"]
    assert imported["asserted"]["models"]["teacher"]["weights_digest"] == str(
        teacher.model.weights_digest
    )


@pytest.mark.parametrize("said", ["tokenizer", "policy"])
def test_models_that_read_ids_as_other_text_are_not_said_together(
    said: str, empty: Store, tmp_path: Path, teacher: Fingerprint, models: dict[str, Path]
) -> None:
    folder = save_tokenizer(tmp_path / "tokenizer")
    other_ids(folder)
    another = NamedTokenizer.open(str(folder))
    if said == "tokenizer":
        claims = Claims(tokenizer=another, teacher=teacher)
    else:
        policy = fingerprint(str(models["student"]))
        claims = Claims(tokenizer=another, policy=policy)
    with pytest.raises(ConsistencyError, match="several tokenizers") as caught:
        of_lines(empty, tmp_path, claims)
    assert caught.value.exit_code == 6
    assert empty.refs.list() == {}


def test_rows_nobody_scored_have_no_teacher_to_speak_of(
    empty: Store, tmp_path: Path, teacher: Fingerprint
) -> None:
    with pytest.raises(UsageError, match="no word on the scoring and teacher"):
        of_lines(empty, tmp_path, Claims(teacher=teacher, dtype="float32"), kind="rollouts")
    identity = of_lines(empty, tmp_path, Claims(policy=teacher), kind="rollouts")
    assert identity.claimed("policy") == teacher.model
    assert identity.imported is not None
    assert identity.imported.not_known == ("eos", "sampling")


def test_ids_beyond_an_asserted_models_vocabulary_contradict_the_assertion(
    empty: Store, tmp_path: Path, teacher: Fingerprint
) -> None:
    row = {"prompt_ids": [5], "response_ids": [319], "teacher_logprobs": [-1.0]}
    beyond = row | {"response_ids": [320]}
    path = write_lines(tmp_path / "rows.jsonl", [row, beyond])
    made = import_file(empty, path, format="jsonl", ref="signal", claims=Claims(teacher=teacher))
    assert made.built.skipped == {"token-out-of-vocabulary": 1}
    free = import_file(empty, path, format="jsonl", ref="free")
    assert free.built.skipped == {}
