"""Signatures in a store: attached as evidence, asked for by `verify --key`, at every target."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from lopd_store.artifacts import load
from lopd_store.digest import Digest
from lopd_store.documents import media
from lopd_store.documents.manifest import Descriptor, Manifest
from lopd_store.errors import FormatError, Problem
from lopd_store.identity.model import Fingerprint
from lopd_store.keys import PrivateKey
from lopd_store.signing import envelopes, sign, signature_of
from lopd_store.store import Store
from lopd_store.verify.report import Report
from lopd_store.verify.target import Depth, verify_artifact, verify_store, verify_target
from tests.building.chain import Arithmetic, ArithmeticEngine
from tests.building.lineage import Lineage
from tests.cli.runner import run
from tests.signing.pem import KEY_ID
from tests.verify.tamper import stray


def kinds(report: Report) -> list[str]:
    return [problem.kind for problem in report.problems]


def attach(store: Store, subject: Manifest, envelope: bytes) -> Digest:
    """Any bytes as a signature of an artifact, as a hostile hand would attach them."""
    evidence = Manifest.of(
        artifact_type="application/vnd.lopd.signature.v1",
        config=Descriptor.of(b"{}", media_type=media.OCI_EMPTY),
        layers=[Descriptor.of(envelope, media_type="application/vnd.lopd.signature.v1+json")],
        subject=subject.descriptor(),
    )
    for blob in (b"{}", envelope, evidence.encode()):
        store.blobs.put(blob)
    store.refs.attach(evidence.descriptor())
    return evidence.digest


def test_a_signature_changes_no_id_and_signing_again_changes_nothing(
    signal: Store, key: PrivateKey
) -> None:
    before = signal.refs.resolve("signal")
    evidence = sign(signal, "signal", key)
    index = (signal.root / "index.json").read_bytes()
    count = len(list(signal.blobs.all()))
    assert sign(signal, "signal", key) == evidence
    assert (signal.root / "index.json").read_bytes() == index
    assert len(list(signal.blobs.all())) == count
    assert signal.refs.resolve("signal") == before
    (found,) = signal.evidence(before, "application/vnd.lopd.signature.v1")
    assert found.digest == evidence.digest
    assert signal.fsck() == []


def test_two_stores_give_one_signature(signal: Store, key: PrivateKey, tmp_path: Path) -> None:
    twin = Store.open(Path(shutil.copytree(signal.root, tmp_path / "twin")))
    assert sign(signal, "signal", key) == sign(twin, "signal", key)


def test_a_signed_artifact_passes_at_the_depth_it_was_asked(
    signal: Store, key: PrivateKey, teacher: Fingerprint
) -> None:
    sign(signal, "signal", key)
    for depth in (Depth(key=key.public), Depth(key=key.public, teacher=teacher)):
        report = verify_artifact(signal, "signal", depth)
        assert (report.problems, report.exit_code) == ([], 0)
        assert report.depth == (2 if depth.teacher else 1)
        assert report.notes == [f"signed by {KEY_ID}"]


def test_an_unsigned_artifact_and_one_of_a_stranger_fail(
    signal: Store, key: PrivateKey, stranger: PrivateKey
) -> None:
    report = verify_artifact(signal, "signal", Depth(key=key.public))
    assert (kinds(report), report.exit_code, report.depth) == (["unsigned"], 3, 1)
    sign(signal, "signal", stranger)
    report = verify_artifact(signal, "signal", Depth(key=key.public))
    assert (kinds(report), report.exit_code) == (["unsigned"], 3)
    assert report.problems[0].found == f"only signatures that name {stranger.public.id}"
    sign(signal, "signal", key)
    assert verify_artifact(signal, "signal", Depth(key=key.public)).ok


def test_without_a_key_nothing_is_asked(signal: Store, stranger: PrivateKey) -> None:
    attach(signal, load(signal, "signal").manifest, b"junk")
    sign(signal, "signal", stranger)
    report = verify_artifact(signal, "signal", Depth())
    assert (report.problems, report.notes) == ([], [])


def test_a_chain_made_up_with_care_passes_all_four_depths_and_has_no_signature(
    lineage: Lineage, teacher: Fingerprint, key: PrivateKey, stranger: PrivateKey
) -> None:
    """The sft rows of this chain are random: no teacher ever wrote them, and no digest tells."""
    asked = {
        "teacher": teacher,
        "rescore": 12,
        "student": lineage.fingerprint(),
        "engine": ArithmeticEngine(opened=Arithmetic()),
    }
    store, manifest = lineage.store, load(lineage.store, "signal").manifest
    report = verify_artifact(store, "signal", Depth(**asked))  # type: ignore[arg-type] # mixed
    assert (report.problems, report.depth) == ([], 4)

    honest = sign(store, "rollouts", key)  # what the publisher did sign
    (borrowed,) = envelopes(store, load(store, "rollouts").id)
    renamed = json.loads(signature_of(manifest, stranger).encode())
    renamed["signatures"][0]["keyid"] = KEY_ID
    forged = json.dumps(renamed, sort_keys=True, separators=(",", ":")).encode()
    for envelope in (borrowed, forged, signature_of(manifest, stranger).encode()):
        attach(store, manifest, envelope)
    report = verify_artifact(store, "signal", Depth(**asked, key=key.public))  # type: ignore[arg-type] # mixed
    assert (kinds(report), report.exit_code) == (["bad-signature", "bad-signature"], 3)
    assert {problem.found for problem in report.problems} == {
        f"one about {load(store, 'rollouts').id}",
        "one that this key did not make of these bytes",
    }
    assert honest.digest not in {found.digest for found in store.evidence(manifest.digest)}


def test_every_artifact_of_a_whole_store_has_to_be_signed(signal: Store, key: PrivateKey) -> None:
    sign(signal, "signal", key)
    report = verify_target(str(signal.root), root=signal.root, depth=Depth(key=key.public))
    rollouts = signal.refs.resolve("rollouts")
    expected = Problem("unsigned", f"artifact {rollouts.short}", f"a signature by {KEY_ID}", "none")
    assert (report.problems, report.exit_code, report.depth) == ([expected], 3, 1)
    assert report.notes == [f"signal: signed by {KEY_ID}"]
    sign(signal, "rollouts", key)
    assert verify_store(signal, key=key.public).ok


def test_shards_that_no_manifest_names_are_signed_by_nobody(
    signal: Store, key: PrivateKey, tmp_path: Path
) -> None:
    sign(signal, "signal", key)
    folder = tmp_path / "loose"
    folder.mkdir()
    path = stray(signal, folder)
    for target in (path, folder):
        report = verify_target(str(target), root=signal.root, depth=Depth(key=key.public))
        assert (kinds(report), report.exit_code) == (["unsigned"], 3)
        assert report.problems[0].found == "shards that no manifest names"


def test_a_damaged_signature_is_damage_and_counts_for_nothing(
    signal: Store, key: PrivateKey
) -> None:
    evidence = sign(signal, "signal", key)
    (layer,) = Manifest.parse(signal.blobs.get(evidence.digest)).layers
    path = signal.blobs.path(layer.digest)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(data))
    report = verify_artifact(signal, "signal", Depth(key=key.public))
    assert (kinds(report), report.exit_code) == (["digest-mismatch", "unsigned"], 3)
    path.unlink()
    report = verify_artifact(signal, "signal", Depth(key=key.public))
    assert (kinds(report), report.exit_code) == (["not-found", "unsigned"], 3)


def test_a_huge_signature_is_not_read(signal: Store, key: PrivateKey) -> None:
    attach(signal, load(signal, "signal").manifest, b" " * 70_000)
    report = verify_artifact(signal, "signal", Depth(key=key.public))
    assert (kinds(report), report.exit_code) == (["format", "unsigned"], 3)


def test_a_changed_artifact_is_told_though_it_is_signed(signal: Store, key: PrivateKey) -> None:
    sign(signal, "signal", key)
    path = signal.blobs.path(load(signal, "signal").shards[0].digest)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(data))
    report = verify_artifact(signal, "signal", Depth(key=key.public))
    assert (kinds(report), report.exit_code) == (["digest-mismatch"], 3)


def test_gc_keeps_a_signature_as_long_as_its_artifact(signal: Store, key: PrivateKey) -> None:
    evidence = sign(signal, "signal", key)
    signal.gc(grace_seconds=-1)
    assert verify_artifact(signal, "signal", Depth(key=key.public)).ok
    signal.refs.remove("signal")
    assert evidence.digest in signal.gc(grace_seconds=-1).evidence


def test_only_artifacts_are_signed(signal: Store, key: PrivateKey) -> None:
    evidence = sign(signal, "signal", key)
    with pytest.raises(FormatError, match=r"expected an artifact of kind .*signature\.v1"):
        sign(signal, str(evidence.digest), key)


def test_the_commands_make_a_key_sign_and_verify(signal: Store, tmp_path: Path) -> None:
    store, file = ("--store", signal.root), tmp_path / "mine"
    made = run("keygen", file, "--json").json
    assert made == {"key": made["key"], "private": str(file), "public": f"{file}.pub"}
    failed = run("verify", "signal", "--key", f"{file}.pub", "--json", *store)
    assert (failed.code, failed.json["problems"][0]["kind"]) == (3, "unsigned")
    said = run("sign", "signal", "--key", file, "--json", *store)
    assert said.code == 0
    assert said.json["id"] == str(signal.refs.resolve("signal"))
    assert said.json["key"] == made["key"]
    again = run("sign", "signal", "--key", file, *store)
    assert again.out == f"signed signal {said.json['id']}\nkey {made['key']}\n"
    passed = run("verify", "signal", "--key", f"{file}.pub", *store)
    assert (passed.code, passed.err) == (0, f"note: signed by {made['key']}\n")
    secret = file.read_text().splitlines()[1]
    for one in (failed, said, again, passed):
        assert secret not in one.out + one.err


def test_what_a_person_gets_wrong_is_said(signal: Store, key_file: Path) -> None:
    store, public = ("--store", signal.root), f"{key_file}.pub"
    assert run("keygen", key_file).code == 2
    wrong = run("sign", "signal", "--key", public, *store)
    assert (wrong.code, "only the private key signs" in wrong.err) == (5, True)
    wrong = run("verify", "signal", "--key", key_file, *store)
    assert (wrong.code, "keep it to yourself" in wrong.err) == (5, True)
    wrong = run("sign", "signl", "--key", key_file, *store)
    assert (wrong.code, "did you mean signal?" in wrong.err) == (4, True)
    wrong = run("verify", "signal", "--key", f"{key_file}.nowhere", *store)
    assert (wrong.code, "no such file" in wrong.err) == (4, True)
    assert run("sign", "signal", *store).code == 2


def test_openssl_agrees_about_a_signature(
    signal: Store, key: PrivateKey, key_file: Path, tmp_path: Path
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to ask")
    sign(signal, "signal", key)
    artifact = load(signal, "signal")
    (envelope,) = envelopes(signal, artifact.id)
    signature = signature_of(artifact.manifest, key)
    assert signature.encode() == envelope
    (tmp_path / "data").write_bytes(signature.to_sign)
    (tmp_path / "sig").write_bytes(signature.signatures[KEY_ID])
    words = ("pkeyutl", "-verify", "-pubin", "-inkey", f"{key_file}.pub", "-rawin")
    files = ("-in", tmp_path / "data", "-sigfile", tmp_path / "sig")
    said = subprocess.run(["openssl", *words, *files], capture_output=True, check=False)
    assert said.returncode == 0, said.stderr
