"""What is published: text beside ids, rounded log-probs, and all else as it was."""

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from lopd_store.artifacts import Artifact, load, noises
from lopd_store.documents import media
from lopd_store.documents.identity import Identity
from lopd_store.errors import UsageError
from lopd_store.identity.model import Fingerprint
from lopd_store.publishing.derive import derive
from lopd_store.rows.precision import Precision
from lopd_store.store import Store
from lopd_store.verify.target import Depth, verify_artifact
from tests.building.chain import build_signal, rows_in
from tests.publishing.saying import Heard

TEXTS = ["prompt_text", "response_text"]
COARSE = Precision.parse("2^-6")


def assert_valid(store: Store, artifact: Artifact) -> None:
    report = verify_artifact(store, str(artifact.id), Depth())
    assert report.problems == []


def flat(store: Store, ref: str, name: str) -> npt.NDArray[np.float64]:
    return np.array([value for row in rows_in(store, ref)[name].to_pylist() for value in row])


def test_text_stands_beside_the_ids_as_another_library_reads_them(
    signal: Store, models: dict[str, Path]
) -> None:
    from transformers import AutoTokenizer

    made = derive(signal, load(signal, "signal"))
    assert_valid(signal, made)
    rows = rows_in(signal, str(made.id)).to_pylist()
    reader = AutoTokenizer.from_pretrained(models["teacher"])
    assert len(rows) == 60
    for row in rows:
        for text, ids in (("prompt_text", "prompt_ids"), ("response_text", "response_ids")):
            assert row[text] == reader.decode(row[ids], clean_up_tokenization_spaces=False)
    assert any(row["response_text"].endswith("<|eos|>") for row in rows)


def test_everything_but_the_text_stays_as_it_was(signal: Store) -> None:
    source = load(signal, "signal")
    made = derive(signal, source)
    before, after = rows_in(signal, "signal"), rows_in(signal, str(made.id))
    assert after.drop_columns(TEXTS).equals(before)
    assert [part.rows for part in made.shards] == [part.rows for part in source.shards]
    assert len(made.shards) == 2
    assert made.identities == source.identities
    assert made.manifest.tokenizers == source.manifest.tokenizers
    one, other = source.document, made.document
    for name in ("kind", "rows", "tokens", "prompt_tokens", "duplicates", "skipped"):
        assert getattr(other, name) == getattr(one, name)


def test_the_source_is_in_the_lineage_after_its_own(signal: Store) -> None:
    source = load(signal, "signal")
    made = derive(signal, source)
    assert [(link.kind, link.digest) for link in made.document.lineage] == [
        ("rollouts", load(signal, "rollouts").id),
        ("signal", source.id),
    ]


def test_rounding_moves_log_probs_by_at_most_what_it_says(signal: Store) -> None:
    source = load(signal, "signal")
    made = derive(signal, source, texts=False, precision=COARSE)
    assert_valid(signal, made)
    for name in ("teacher_logprobs", "rollout_logprobs"):
        before, after = flat(signal, "signal", name), flat(signal, str(made.id), name)
        assert np.abs(after - before).max() <= 2**-6
        assert (after * 32 == np.rint(after * 32)).all()  # a grid of twice the error
    assert (flat(signal, "signal", "rollout_logprobs") * 32 % 1 != 0).any()
    names = [column.name for column in made.document.columns]
    assert not set(names) & set(TEXTS)


def test_only_the_precision_of_an_identity_changes(signal: Store) -> None:
    source = load(signal, "signal")
    made = derive(signal, source, precision=COARSE)
    assert_valid(signal, made)
    before, after = source.identities[0].json, made.identities[0].json
    assert (before["precision"], after["precision"]) == ("exact", {"max_error": "2^-6"})
    assert before | {"precision": 0} == after | {"precision": 0}
    footer = pq.read_metadata(signal.blobs.path(made.shards[0].digest)).metadata
    assert Identity.parse(footer[b"lopd.identity"]) == made.identities[0]


def test_noise_goes_with_it_and_other_evidence_does_not(signal: Store) -> None:
    source = load(signal, "signal")
    assert len(noises(signal, source.id)) == 1
    made = derive(signal, source)
    derive(signal, source)
    assert noises(signal, made.id) == noises(signal, source.id)
    (attached,) = signal.evidence(made.id)
    assert attached.artifact_type == media.NOISE_TYPE


def test_nothing_to_change_gives_the_source_itself(signal: Store) -> None:
    source = load(signal, "signal")
    assert derive(signal, source, texts=False).id == source.id
    assert derive(signal, source, texts=False, precision=Precision.parse("exact")).id == source.id
    made = derive(signal, source, precision=COARSE)
    assert derive(signal, made, precision=COARSE).id == made.id
    assert derive(signal, made, precision=Precision.parse("2^-9")).id == made.id


def test_a_rounded_artifact_is_not_rounded_further(signal: Store) -> None:
    fine = derive(signal, load(signal, "signal"), precision=Precision.parse("2^-9"))
    with pytest.raises(UsageError, match=r"found some rounded to 2\^-9.*add up"):
        derive(signal, fine, precision=COARSE)


def test_two_stores_make_the_same_artifact(signal: Store, built: Path, tmp_path: Path) -> None:
    other = Store.open(Path(shutil.copytree(built, tmp_path / "other")))
    made = derive(signal, load(signal, "signal"), precision=COARSE)
    assert derive(other, load(other, "signal"), precision=COARSE).id == made.id


def test_rows_cut_at_other_places_show_the_same_text(signal: Store, teacher: Fingerprint) -> None:
    build_signal(signal, teacher, ref="whole", shard_tokens=1 << 20)
    parts = derive(signal, load(signal, "signal"))
    whole = derive(signal, load(signal, "whole"))
    assert len(whole.shards) == 1
    assert whole.document.content_digest == parts.document.content_digest


def test_a_person_hears_how_far_it_is(signal: Store) -> None:
    heard = Heard()
    source = load(signal, "signal")
    derive(signal, source, progress=heard)
    assert (heard.total, heard.done, heard.says) == (source.document.tokens,) * 2 + ([],)
