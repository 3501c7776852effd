"""What counts as a signature of an artifact by a key: judged from bytes alone, without a store."""

from base64 import b64decode, b64encode
from typing import Any

import pytest

from lopd_store import canonical
from lopd_store.artifacts import load
from lopd_store.digest import Digest
from lopd_store.documents.manifest import Manifest
from lopd_store.documents.signature import Signature
from lopd_store.errors import FormatError, Problem
from lopd_store.keys import PrivateKey
from lopd_store.signing import signature_of, signatures_problems, signers
from lopd_store.store import Store
from tests.signing.pem import KEY_ID

IN_TOTO = "application/vnd.in-toto+json"


@pytest.fixture
def manifest(signal: Store) -> Manifest:
    return load(signal, "signal").manifest


@pytest.fixture
def envelope(manifest: Manifest, key: PrivateKey) -> bytes:
    return signature_of(manifest, key).encode()


def signed(statement: Any, key: PrivateKey, *, kind: str = IN_TOTO, said: str = IN_TOTO) -> bytes:
    """An envelope by the book of DSSE: `kind` is what is signed, `said` what is written."""
    payload = statement if isinstance(statement, bytes) else canonical.encode(statement)
    length = len(payload)
    signature = key.sign(f"DSSEv1 {len(kind)} {kind} {length} ".encode() + payload)
    return canonical.encode(
        {
            "payloadType": said,
            "payload": b64encode(payload).decode(),
            "signatures": [{"keyid": KEY_ID, "sig": b64encode(signature).decode()}],
        }
    )


def statement_of(manifest: Manifest, **changes: Any) -> dict[str, Any]:
    """in-toto's spelling, by hand."""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": manifest.digest.hex}}],
        "predicateType": "urn:lopd:signature:v1",
        "predicate": {"artifactType": "application/vnd.lopd.signal.v1"},
    } | changes


def kinds(problems: list[Problem]) -> list[str]:
    return [problem.kind for problem in problems]


def test_a_signature_by_the_key_is_one(
    manifest: Manifest, envelope: bytes, key: PrivateKey
) -> None:
    assert signatures_problems(manifest.digest, [envelope], key.public) == []
    assert signers([envelope, envelope]) == (KEY_ID,)
    assert len(envelope) < 700


def test_an_envelope_by_the_book_of_in_toto_is_one(manifest: Manifest, key: PrivateKey) -> None:
    theirs = signed(statement_of(manifest), key)
    assert signatures_problems(manifest.digest, [theirs], key.public) == []
    more = statement_of(manifest, predicate={"artifactType": "?", "why": "tested"}, new={"a": 1})
    assert signatures_problems(manifest.digest, [signed(more, key)], key.public) == []


def test_without_any_it_is_unsigned(manifest: Manifest, key: PrivateKey) -> None:
    (problem,) = signatures_problems(manifest.digest, [], key.public)
    assert problem == Problem(
        "unsigned", f"artifact {manifest.digest.short}", f"a signature by {KEY_ID}", "none"
    )


def test_the_signature_of_another_key_is_none_and_is_named(
    manifest: Manifest, envelope: bytes, key: PrivateKey, stranger: PrivateKey
) -> None:
    theirs = signature_of(manifest, stranger).encode()
    (problem,) = signatures_problems(manifest.digest, [theirs], key.public)
    assert problem.kind == "unsigned"
    assert problem.found == f"only signatures that name {stranger.public.id}"
    assert signatures_problems(manifest.digest, [theirs, envelope], key.public) == []


def test_a_signature_under_a_borrowed_name_is_bad(
    manifest: Manifest, key: PrivateKey, stranger: PrivateKey
) -> None:
    forged = signed(statement_of(manifest), stranger)
    (problem,) = signatures_problems(manifest.digest, [forged], key.public)
    assert problem.kind == "bad-signature"
    assert problem.where == f"signature {Digest.of(forged).short}"
    assert problem.found == "one that this key did not make of these bytes"


def test_a_signature_of_another_artifact_is_bad(
    signal: Store, manifest: Manifest, key: PrivateKey
) -> None:
    rollouts = load(signal, "rollouts").manifest
    moved = signature_of(rollouts, key).encode()
    (problem,) = signatures_problems(manifest.digest, [moved], key.public)
    assert (problem.kind, problem.expected, problem.found) == (
        "bad-signature",
        f"a statement about {manifest.digest}",
        f"one about {rollouts.digest}",
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"predicateType": "https://slsa.dev/provenance/v1"},
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"subject": []},
        {"subject": [{"digest": {"sha512": "0" * 128}}]},
        {"subject": [{"digest": {"sha256": "0" * 64}}]},
        {"subject": "all"},
    ],
    ids=str,
)
def test_what_the_key_signed_for_another_use_is_bad(
    changes: dict[str, Any], manifest: Manifest, key: PrivateKey
) -> None:
    found = signatures_problems(
        manifest.digest, [signed(statement_of(manifest, **changes), key)], key.public
    )
    assert kinds(found) == ["bad-signature"]


def test_a_statement_about_this_artifact_among_others_is_bad(
    manifest: Manifest, key: PrivateKey
) -> None:
    subjects = [{"digest": {"sha256": hexes}} for hexes in ("0" * 64, manifest.digest.hex)]
    both = signed(statement_of(manifest, subject=subjects), key)
    assert kinds(signatures_problems(manifest.digest, [both], key.public)) == ["bad-signature"]


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/vnd.in-toto+jsonl"], ids=["none", "text", "longer"]
)
def test_the_type_of_what_was_signed_counts(kind: str, manifest: Manifest, key: PrivateKey) -> None:
    for said in (kind, IN_TOTO):
        envelope = signed(statement_of(manifest), key, kind=kind, said=said)
        found = signatures_problems(manifest.digest, [envelope], key.public)
        assert kinds(found) == ["bad-signature"]


def test_bare_bytes_that_the_key_signed_are_no_statement(
    manifest: Manifest, key: PrivateKey
) -> None:
    payload = canonical.encode(statement_of(manifest))
    bare = canonical.encode(
        {
            "payloadType": IN_TOTO,
            "payload": b64encode(payload).decode(),
            "signatures": [{"keyid": KEY_ID, "sig": b64encode(key.sign(payload)).decode()}],
        }
    )
    assert kinds(signatures_problems(manifest.digest, [bare], key.public)) == ["bad-signature"]


@pytest.mark.parametrize(
    "payload", [b"", b"null", b"\xff", b"[" * 5000, b'{"a": 1}', b"1e400"], ids=repr
)
def test_what_is_no_statement_is_bad_even_when_signed(
    payload: bytes, manifest: Manifest, key: PrivateKey
) -> None:
    found = signatures_problems(manifest.digest, [signed(payload, key)], key.public)
    assert kinds(found) == ["bad-signature"]


@pytest.mark.parametrize(
    "junk", [b"", b"{}", b"\x00" * 1000, b"[" * 50_000, b" " * 70_000, b'{"payload":1}'], ids=len
)
def test_junk_is_named_and_hides_no_good_signature(
    junk: bytes, manifest: Manifest, envelope: bytes, key: PrivateKey
) -> None:
    (problem,) = signatures_problems(manifest.digest, [junk], key.public)
    assert (problem.kind, problem.where) == ("bad-signature", f"signature {Digest.of(junk).short}")
    assert len(str(problem)) < 500
    assert signatures_problems(manifest.digest, [junk, envelope, junk], key.public) == []
    with pytest.raises(FormatError):
        signers([junk])


def test_no_bit_of_an_envelope_can_be_changed(
    manifest: Manifest, envelope: bytes, key: PrivateKey
) -> None:
    for place in range(len(envelope)):
        changed = bytearray(envelope)
        changed[place] ^= 1
        assert signatures_problems(manifest.digest, [bytes(changed)], key.public), place


def test_no_bit_of_the_artifacts_id_can_be_changed(
    manifest: Manifest, envelope: bytes, key: PrivateKey
) -> None:
    for place in range(64):
        digits = list(manifest.digest.hex)
        digits[place] = "0" if digits[place] != "0" else "1"
        other = Digest.from_hex("".join(digits))
        assert kinds(signatures_problems(other, [envelope], key.public)) == ["bad-signature"]


@pytest.mark.parametrize("length", [0, 32, 63, 65, 96])
def test_a_signature_of_another_length_is_bad(
    length: int, manifest: Manifest, envelope: bytes, key: PrivateKey
) -> None:
    document = Signature.parse(envelope).json
    longer = b64decode(document["signatures"][0]["sig"]) + bytes(32)
    document["signatures"][0]["sig"] = b64encode(longer[:length]).decode()
    found = signatures_problems(manifest.digest, [canonical.encode(document)], key.public)
    assert kinds(found) == ["bad-signature"]


def test_other_signatures_may_stand_beside_it(
    manifest: Manifest, envelope: bytes, key: PrivateKey
) -> None:
    document = Signature.parse(envelope).json
    document["signatures"].insert(0, {"keyid": "RSA of somebody", "sig": "AAAA"})
    both = canonical.encode(document)
    assert signatures_problems(manifest.digest, [both], key.public) == []
    assert signers([both]) == ("RSA of somebody", KEY_ID)


def test_many_names_of_keys_are_not_all_said(manifest: Manifest, key: PrivateKey) -> None:
    entries = [{"keyid": f"key {number}", "sig": "AAAA"} for number in range(500)]
    crowd = {"payloadType": IN_TOTO, "payload": "", "signatures": entries}
    (problem,) = signatures_problems(manifest.digest, [canonical.encode(crowd)], key.public)
    assert problem.kind == "unsigned"
    assert problem.found == "only signatures that name key 0, key 1, key 10 and 497 more"
