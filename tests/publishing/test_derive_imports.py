"""Rows that others made: some without a tokenizer, some with ids that no honest row has."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from lopd_store.artifacts import load
from lopd_store.digest import Digest
from lopd_store.documents.identity import Identity
from lopd_store.errors import FormatError, IntegrityError, NotFoundError
from lopd_store.identity.model import Fingerprint
from lopd_store.identity.tokenizer import identify
from lopd_store.importing import Claims, NamedTokenizer, import_file
from lopd_store.merge import merge
from lopd_store.publishing.derive import derive
from lopd_store.rows.precision import Precision
from lopd_store.store import Store
from lopd_store.verify.target import Depth, verify_artifact
from tests.building.chain import identity_of, publish, rows_in, rows_of
from tests.publishing.saying import Heard

LINE = '{"prompt_ids": [72, 73], "response_ids": [%s], "teacher_logprobs": [-0.3, -0.7]}\n'


def take_in(store: Store, folder: Path, ids: str, ref: str, claims: Claims) -> None:
    path = folder / f"{ref}.jsonl"
    path.write_text(LINE % ids)
    import_file(store, path, format="jsonl", ref=ref, claims=claims)


def test_rows_without_a_tokenizer_are_published_without_text(store: Store, tmp_path: Path) -> None:
    take_in(store, tmp_path, "70, 71", "unknown", Claims())
    source, heard = load(store, "unknown"), Heard()
    assert derive(store, source, progress=heard).id == source.id
    (said,) = heard.says
    assert "no text beside the ids of 1 rows" in said
    assert "import --tokenizer" in said
    rounded = derive(store, source, precision=Precision.parse("2^-6"))
    assert rows_in(store, str(rounded.id))["teacher_logprobs"].to_pylist() == [[-0.3125, -0.6875]]
    assert verify_artifact(store, str(rounded.id), Depth()).problems == []


def test_where_only_some_rows_have_a_tokenizer_the_others_have_null(
    store: Store, tmp_path: Path, models: dict[str, Path]
) -> None:
    known = Claims(tokenizer=NamedTokenizer.open(str(models["teacher"])))
    take_in(store, tmp_path, "70, 71", "unknown", Claims())
    take_in(store, tmp_path, "38, 39", "known", known)
    merge(store, ["unknown", "known"], ref="both")
    heard = Heard()
    made = derive(store, load(store, "both"), progress=heard)
    rows = rows_in(store, str(made.id))
    assert rows["prompt_text"].to_pylist() == [None, "de"]
    assert rows["response_text"].to_pylist() == [None, "BC"]
    assert len(heard.says) == 1
    assert verify_artifact(store, str(made.id), Depth()).problems == []


def test_skipped_rows_are_listed_as_they_were(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(LINE % "70, 71" + LINE % "70")
    import_file(store, path, format="jsonl", ref="some")
    source = load(store, "some")
    made = derive(store, source, precision=Precision.parse("2^-6"))
    assert made.manifest.skipped == source.manifest.skipped
    assert made.document.skipped == source.document.skipped == {"logprob-length": 1}
    assert verify_artifact(store, str(made.id), Depth()).problems == []


def test_an_id_without_a_token_shows_nothing(store: Store, teacher: Fingerprint) -> None:
    """Models have more rows than the tokenizer has tokens, here 320 and 267."""
    rows = rows_of([[72]], [[72, 319]], rollout_logprobs=[[-1.0, -1.0]])
    blob = teacher.tokenizer_blob
    assert blob is not None
    publish(store, "sft", identity_of("sft", teacher), [rows], tokenizer_blob=blob)
    made = derive(store, load(store, "sft"))
    assert rows_in(store, str(made.id))["response_text"].to_pylist() == ["d"]


def test_a_negative_id_is_said_and_nothing_is_left(store: Store, teacher: Fingerprint) -> None:
    rows = rows_of([[72]], [[72, -1]], rollout_logprobs=[[-1.0, -1.0]])
    blob = teacher.tokenizer_blob
    assert blob is not None
    publish(store, "sft", identity_of("sft", teacher), [rows], tokenizer_blob=blob)
    before = set(store.blobs.all())
    with pytest.raises(FormatError, match="at least 0, found -1: see lopd-store verify"):
        derive(store, load(store, "sft"))
    assert set(store.blobs.all()) == before
    assert not list(store.builds.glob("derive-*"))


def test_a_lost_tokenizer_is_said(signal: Store) -> None:
    source = load(signal, "signal")
    signal.blobs.path(source.manifest.tokenizers[0].digest).unlink()
    with pytest.raises(NotFoundError, match=source.manifest.tokenizers[0].digest.hex):
        derive(signal, source)


def test_a_tokenizer_that_is_not_the_one_described_is_said_and_nothing_is_left(
    store: Store, teacher: Fingerprint, models: dict[str, Path]
) -> None:
    """Its digest is right, and the identity says so; its vocabulary is another."""
    reader = Tokenizer.from_file(str(models["teacher"] / "tokenizer.json"))
    reader.add_tokens(["another"])
    other = identify(reader, folder=models["teacher"])
    document = identity_of("sft", teacher).json
    document = document | {
        "tokenizer": document["tokenizer"] | {"blob": str(Digest.of(other.blob))}
    }
    rows = rows_of([[72]], [[72, 73]], rollout_logprobs=[[-1.0, -1.0]])
    publish(store, "sft", Identity.from_json(document), [rows], tokenizer_blob=other.blob)
    before = set(store.blobs.all())
    with pytest.raises(IntegrityError, match="tokenizer-differs") as error:
        derive(store, load(store, "sft"))
    assert {problem.kind for problem in error.value.problems} == {"tokenizer-differs"}
    assert set(store.blobs.all()) == before
