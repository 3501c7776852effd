"""Typed accessors say what the JSON says, and builders write that JSON."""

from typing import Any

import pytest

from lopd_store.digest import Digest
from lopd_store.documents import (
    ArtifactDocument,
    BaseModel,
    Column,
    Descriptor,
    HubSource,
    Identity,
    Imported,
    Lineage,
    Manifest,
    ModelIdentity,
    Noise,
    OpdRun,
    Sampling,
    SignalUsed,
    Signature,
    SkippedRow,
    SpecialIds,
    Stamp,
    Statement,
    TokenizerIdentity,
    encode_skipped,
    media,
    parse_skipped,
)
from lopd_store.errors import ConsistencyError, FormatError


def digest(character: str) -> Digest:
    return Digest(f"sha256:{character * 64}")


def test_an_identity_is_read(documents: dict[str, Any]) -> None:
    identity = Identity.from_json(documents["identity"])
    teacher = identity.models["teacher"]
    assert identity.kind == "signal"
    assert teacher.weights_digest == digest("a")
    assert teacher.files["model.safetensors"] == digest("f")
    assert teacher.source == HubSource(repo="Qwen/Qwen3-8B", commit="0123456789" * 4)
    assert teacher.adapter is None
    assert identity.teacher == teacher
    assert identity.tokenizer is not None
    assert identity.tokenizer.special_ids == SpecialIds(eos=(151645, 151643), pad=151643)
    assert identity.scorings["teacher"].versions["vllm"] == "0.32.0"
    assert identity.scorings["teacher"].chunk_tokens == 2048
    assert [signal.column for signal in identity.signals] == [
        "rollout_logprobs",
        "teacher_logprobs",
    ]
    assert identity.precision == "2^-12"
    assert identity.sampling == Sampling(temperature="0.8", top_p="1", max_tokens=4096, seed=0, n=4)
    assert identity.prompts is not None
    assert identity.prompts.digest == digest("9")
    assert identity.imported is None


def test_the_policy_stamp_is_read_with_its_identity(documents: dict[str, Any]) -> None:
    stamp = Identity.from_json(documents["identity"]).policy_stamp
    assert stamp is not None
    assert stamp.sft_teacher.weights_digest == digest("a")
    assert stamp == Stamp.from_json(documents["stamp"])


def test_the_vocabulary_is_the_smallest(documents: dict[str, Any]) -> None:
    documents["identity"]["models"]["teacher"]["vocab_size"] = 151669
    assert Identity.from_json(documents["identity"]).vocab_size == 151669
    documents["rollouts"] |= {
        "imported": Imported(digest=digest("0"), retokenised=False).to_json(),
        "models": {},
        "signals": [],
    }
    documents["rollouts"]["tokenizer"]["vocab_size"] = 7
    assert Identity.from_json(documents["rollouts"]).vocab_size == 7


def test_a_lora_teacher_keeps_its_adapter(documents: dict[str, Any]) -> None:
    adapter = {"digest": str(digest("0")), "rank": 16, "alpha": "32", "targets": ["q_proj"]}
    same = {"adapter": adapter, "asserted_same_as": str(digest("1"))}
    model = documents["sft"]["models"]["teacher"] | same
    found = ModelIdentity.from_json(model)
    assert found.adapter is not None
    assert (found.adapter.rank, found.adapter.alpha) == (16, "32")
    assert found.asserted_same_as == digest("1")
    assert found.to_json() == model


def test_an_artifact_document_is_built(documents: dict[str, Any]) -> None:
    built = ArtifactDocument.of(
        kind="signal",
        identities=[Identity.from_json(documents["identity"]).digest],
        columns=[
            Column(name="sample_id", type="string"),
            Column(name="response_ids", type="list<int32>"),
        ],
        rows=5,
        tokens=90,
        prompt_tokens=33,
        content_digest=digest("7"),
        duplicates=1,
        skipped={"empty-response": 2},
    )
    assert built.json == documents["artifact"]
    assert built.columns[1].type == "list<int32>"


def test_lineage_is_read(documents: dict[str, Any]) -> None:
    documents["artifact"]["lineage"] = [{"kind": "rollouts", "digest": str(digest("2"))}]
    found = ArtifactDocument.from_json(documents["artifact"]).lineage
    assert found == (Lineage(kind="rollouts", digest=digest("2")),)


def test_a_manifest_is_built(documents: dict[str, Any]) -> None:
    identity = Identity.from_json(documents["identity"])
    artifact = ArtifactDocument.from_json(documents["artifact"])
    built = Manifest.of(
        artifact_type=media.artifact_type("signal"),
        config=Descriptor.of(artifact.encode(), media_type=media.ARTIFACT),
        layers=[
            Descriptor.of(identity.encode(), media_type=media.IDENTITY),
            Descriptor(media_type=media.TOKENIZER, digest=digest("b"), size=7),
            Descriptor.of_shard(
                digest=digest("5"), size=1000, rows=2, tokens=40, identity=identity.digest
            ),
            Descriptor.of_shard(
                digest=digest("6"), size=1000, rows=3, tokens=50, identity=identity.digest
            ),
            Descriptor(media_type=media.SKIPPED, digest=digest("8"), size=70),
        ],
    )
    assert built.json == documents["manifest"]
    assert built.kind == "signal"
    assert [(shard.rows, shard.tokens) for shard in built.shards] == [(2, 40), (3, 50)]
    assert built.shards[0].identity == identity.digest
    assert built.identities[0].digest == identity.digest
    assert built.tokenizers[0].digest == digest("b")
    assert built.skipped is not None
    assert built.skipped.digest == digest("8")
    assert built.disagreements(artifact) == []


def test_a_manifest_and_its_artifact_that_disagree_say_where(documents: dict[str, Any]) -> None:
    documents["artifact"] |= {"kind": "sft", "rows": 6, "identities": [str(digest("0"))]}
    artifact = ArtifactDocument.from_json(documents["artifact"])
    found = Manifest.from_json(documents["manifest"]).disagreements(artifact)
    kinds = [(problem.kind, problem.where) for problem in found]
    assert kinds == [
        ("kind-mismatch", "/artifact/kind"),
        ("identity-mismatch", "/artifact/identities"),
        ("count-mismatch", "/artifact/rows"),
    ]


def test_a_manifest_describes_itself(documents: dict[str, Any]) -> None:
    manifest = Manifest.from_json(documents["manifest"])
    assert manifest.descriptor().to_json() == {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.lopd.signal.v1",
        "digest": str(manifest.digest),
        "size": len(manifest.encode()),
    }


def test_evidence_names_its_subject(documents: dict[str, Any]) -> None:
    noise = Noise.from_json(documents["noise"])
    subject = Manifest.from_json(documents["manifest"])
    built = Manifest.of(
        artifact_type=media.NOISE_TYPE,
        config=Descriptor.of(b"{}", media_type=media.OCI_EMPTY),
        layers=[Descriptor.of(noise.encode(), media_type=media.NOISE)],
        subject=Descriptor.of(subject.encode(), media_type=media.OCI_MANIFEST),
    )
    assert built.json == documents["noise_manifest"]
    assert (built.kind, built.skipped) == ("noise", None)


def test_a_layer_that_is_no_shard_has_no_rows(documents: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match=r"dev\.lopd\.rows"):
        _ = Manifest.from_json(documents["manifest"]).layers[0].rows


def test_a_signature_is_read_and_built(documents: dict[str, Any]) -> None:
    signature = Signature.from_json(documents["signature"])
    assert signature.signatures == {str(digest("6")): bytes(64)}
    statement = Statement.parse(signature.payload)
    manifest = Manifest.from_json(documents["manifest"])
    assert statement.artifact == manifest.digest
    assert Statement.of(manifest).json == documents["statement"]
    assert Signature.of(statement, key=digest("6"), signature=bytes(64)) == signature


def test_what_is_signed_binds_the_payload_to_its_type(documents: dict[str, Any]) -> None:
    """The example of DSSE's protocol.md, with in-toto's type."""
    signature = Signature.from_json(documents["signature"] | {"payload": "aGVsbG8gd29ybGQ="})
    assert signature.to_sign == b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"


def test_noise_is_built(documents: dict[str, Any]) -> None:
    built = Noise.of(
        scoring="teacher",
        rows=32,
        tokens=1000,
        differing=400,
        mean_abs="1.2e-06",
        max_abs="1.5e-05",
        bound="1e-04",
    )
    assert built.json == documents["noise"]


def test_a_stamp_is_built_and_read(documents: dict[str, Any]) -> None:
    sft = documents["stamp"]["sft"]
    manifest = Manifest.from_json(sft["manifest"])
    built = Stamp.of(
        how="made",
        weights_digest=digest("d"),
        config_digest=digest("c"),
        base=BaseModel(weights_digest=digest("0"), config_digest=digest("c")),
        manifest=manifest,
        artifact=ArtifactDocument.from_json(sft["artifact"]),
        identities=[Identity.from_json(sft["identities"][0])],
    )
    assert built.json == documents["stamp"]
    assert built.sft_manifest_digest == manifest.digest
    assert built.sft_teacher == ModelIdentity.from_json(documents["sft"]["models"]["teacher"])
    assert built.sft_tokenizer == TokenizerIdentity.from_json(documents["sft"]["tokenizer"])
    assert built.base is not None
    assert built.base.weights_digest == digest("0")


def test_a_stamp_takes_the_base_from_a_model(documents: dict[str, Any]) -> None:
    sft = documents["stamp"]["sft"]
    base = ModelIdentity.from_json(documents["sft"]["models"]["teacher"])
    built = Stamp.of(
        how="asserted",
        weights_digest=digest("d"),
        config_digest=digest("c"),
        base=base,
        manifest=Manifest.from_json(sft["manifest"]),
        artifact=ArtifactDocument.from_json(sft["artifact"]),
        identities=[Identity.from_json(sft["identities"][0])],
    )
    assert built.base == BaseModel(
        weights_digest=digest("a"), config_digest=digest("c"), source=base.source
    )


def test_the_history_of_a_stamp_is_read(documents: dict[str, Any]) -> None:
    stamp = Stamp.from_json(documents["untaught"])
    assert (stamp.sft_manifest_digest, stamp.sft_artifact, stamp.sft_identities) == (None, None, ())
    assert stamp.adapter_digest == digest("5")
    first, second = stamp.opd
    assert first.signal == SignalUsed(identities=(digest("3"),), artifact=digest("2"))
    assert first.start == BaseModel(weights_digest=digest("4"), config_digest=digest("c"))
    assert [problem.kind for problem in first.inconsistent] == ["no-stamp"]
    assert second.inconsistent == ()
    with pytest.raises(ConsistencyError, match="unknown-sft"):
        _ = stamp.sft_teacher
    with pytest.raises(ConsistencyError, match="unknown-sft"):
        _ = stamp.sft_tokenizer


def test_a_further_run_keeps_what_the_stamp_said_before(documents: dict[str, Any]) -> None:
    document = documents["trained"] | {"how": "asserted", "adapter_digest": str(digest("8"))}
    document["new"] = {"kept": True}
    document["opd"][0]["new"] = "kept"
    start = Stamp.from_json(document)
    model = ModelIdentity.from_json(documents["sft"]["models"]["teacher"])
    run = OpdRun(
        signal=SignalUsed(identities=(digest("6"),), content_digest=digest("7")),
        start=BaseModel(weights_digest=start.weights_digest, config_digest=digest("c")),
    )
    document["weights_digest"] = str(digest("a"))
    document["opd"].append(run.to_json())
    del document["adapter_digest"]
    stamp = Stamp.after_opd(start, model=model, run=run)
    assert stamp.json == document
    assert [each.signal.artifact for each in stamp.opd] == [digest("2"), None]


def test_data_by_two_teachers_has_no_one_teacher(documents: dict[str, Any]) -> None:
    first, second = documents["sft"], {**documents["sft"]}
    second["models"] = {
        "teacher": {**first["models"]["teacher"], "weights_digest": str(digest("e"))}
    }
    second["tokenizer"] = {
        **first["tokenizer"],
        "core_digest": str(digest("e")),
        "probe_digest": str(digest("e")),
    }
    stamp = grown_stamp(documents, [first, second])
    assert len(stamp.sft_teachers) == len(stamp.sft_tokenizers) == 2
    with pytest.raises(ConsistencyError, match="several-teachers"):
        _ = stamp.sft_teacher
    with pytest.raises(ConsistencyError, match="several-tokenizers"):
        _ = stamp.sft_tokenizer


def test_data_by_one_teacher_under_two_engines_has_one_teacher(documents: dict[str, Any]) -> None:
    first, second = documents["sft"], {**documents["sft"]}
    newer = {**first["scorings"]["sampling"], "versions": {"vllm": "0.33.0"}}
    second["scorings"] = {"sampling": newer}
    second["tokenizer"] = {**first["tokenizer"], "core_digest": str(digest("e"))}
    stamp = grown_stamp(documents, [first, second])
    assert stamp.sft_teacher.weights_digest == digest("a")
    assert stamp.sft_tokenizer.core_digest == digest("1")


def grown_stamp(documents: dict[str, Any], sft: list[Any]) -> Stamp:
    """A stamp by an sft artifact with several identities, no shard and no row."""
    identities = [Identity.from_json(document) for document in sft]
    empty = {"identities": [str(one.digest) for one in identities], "rows": 0, "tokens": 0}
    artifact = ArtifactDocument.from_json(
        {**documents["artifact"], **empty, "kind": "sft", "duplicates": 0}
    )
    layers = [Descriptor.of(one.encode(), media_type=media.IDENTITY) for one in identities]
    manifest = Manifest.of(
        artifact_type=media.artifact_type("sft"),
        config=Descriptor.of(artifact.encode(), media_type=media.ARTIFACT),
        layers=[*layers, Descriptor(media_type=media.TOKENIZER, digest=digest("b"), size=7)],
    )
    return Stamp.of(
        how="made",
        weights_digest=digest("d"),
        config_digest=digest("c"),
        base=None,
        manifest=manifest,
        artifact=artifact,
        identities=identities,
    )


def test_skipped_rows_are_lines_of_json() -> None:
    rows = [SkippedRow(row=3, reason="too-long", detail="9 tokens"), SkippedRow(row=7, reason="x")]
    data = b'{"detail":"9 tokens","reason":"too-long","row":3}\n{"reason":"x","row":7}\n'
    assert encode_skipped(rows) == data
    assert parse_skipped(data) == rows
    assert parse_skipped(b"") == []


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'{"reason":"x","row":7}', "cut-line"),
        (b'{"reason":"x","row":7}\n{"reason":"x","row":7}\n', "row-order"),
        (b'{"reason":"x","row":-7}\n', "out-of-range"),
        (b'{"row":7}\n', "missing-field"),
    ],
    ids=["no newline at the end", "rows that do not ascend", "a row below zero", "no reason"],
)
def test_a_broken_list_of_skipped_rows_is_refused(data: bytes, kind: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_skipped(data)
    assert [problem.kind for problem in caught.value.problems] == [kind]


def test_a_line_that_is_not_canonical_is_named() -> None:
    with pytest.raises(FormatError, match="line 2"):
        parse_skipped(b'{"reason":"x","row":7}\n{"row":8, "reason":"x"}\n')
