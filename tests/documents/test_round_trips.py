"""What is read is written again, byte for byte, whatever later versions add to it."""

import hashlib
import json
import pickle
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lopd_store import canonical
from lopd_store.documents import (
    ArtifactDocument,
    Asserted,
    BaseModel,
    Descriptor,
    Document,
    Identity,
    Imported,
    Manifest,
    ModelIdentity,
    Noise,
    OpdRun,
    Part,
    Scoring,
    SignalUsed,
    Signature,
    Stamp,
    Statement,
    TokenizerIdentity,
)

KINDS: dict[str, type[Document]] = {
    "sft": Identity,
    "rollouts": Identity,
    "identity": Identity,
    "imported": Identity,
    "artifact": ArtifactDocument,
    "manifest": Manifest,
    "noise_manifest": Manifest,
    "stamp": Stamp,
    "trained": Stamp,
    "untaught": Stamp,
    "noise": Noise,
    "statement": Statement,
    "signature": Signature,
    "signature_manifest": Manifest,
}
NEW = st.text(min_size=1, max_size=8).map(lambda text: f"new {text}")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NEW, inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.dictionaries(NEW, VALUES, min_size=1, max_size=3)
few = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])


def objects(value: Any) -> list[dict[str, Any]]:
    """Every object in a document that names fields, not the maps from names to strings."""
    if isinstance(value, list):
        return [found for item in value for found in objects(item)]
    if not isinstance(value, dict):
        return []
    inner = [found for item in value.values() for found in objects(item)]
    named = {"_type", "digest", "format", "identities", "sig", "signal", "found", "weights_digest"}
    return [value, *inner] if named & value.keys() else inner


@pytest.mark.parametrize("name", KINDS)
def test_bytes_and_digest_stay(name: str, documents: dict[str, Any]) -> None:
    data = canonical.encode(documents[name])
    document = KINDS[name].parse(data)
    assert document.encode() == data
    assert str(document.digest) == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert document.json == documents[name]


@pytest.mark.parametrize(
    "name",
    [
        "sft",
        "rollouts",
        "imported",
        "artifact",
        "manifest",
        "noise",
        "untaught",
        "statement",
        "signature",
    ],
)
@given(fields=FIELDS)
@few
def test_unknown_fields_stay(name: str, fields: dict[str, Any], documents: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(documents[name]))
    for place in objects(changed):
        place.update(fields)
    data = canonical.encode(changed)
    assert KINDS[name].parse(data).encode() == data


@given(fields=FIELDS)
@few
def test_a_rewritten_identity_keeps_unknown_fields(
    fields: dict[str, Any], documents: dict[str, Any]
) -> None:
    document = json.loads(json.dumps(documents["identity"]))
    for place in (document, *document["models"].values(), *document["scorings"].values()):
        place.update(fields)
    for name in ("tokenizer", "sampling", "prompts"):
        document[name] |= fields
    old = Identity.from_json(document)
    new = Identity.of(
        kind=old.kind,
        models=old.models,
        tokenizer=old.tokenizer,
        scorings=old.scorings,
        signals=old.signals,
        precision=old.precision,
        sampling=old.sampling,
        prompts=old.prompts,
        imported=old.imported,
        policy_stamp=old.policy_stamp,
        unknown=old.unknown,
    )
    assert new == old


@pytest.mark.parametrize("name", KINDS)
def test_documents_pickle_and_hash_by_their_bytes(name: str, documents: dict[str, Any]) -> None:
    document = KINDS[name].from_json(documents[name])
    copy = pickle.loads(pickle.dumps(document))  # noqa: S301 -- our own bytes, a line above
    assert copy == document
    assert len({copy, document}) == 1


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (ModelIdentity, ("identity", "models", "teacher")),
        (TokenizerIdentity, ("identity", "tokenizer")),
        (Scoring, ("identity", "scorings", "teacher")),
        (Descriptor, ("manifest", "config")),
        (Imported, ("imported", "imported")),
        (Asserted, ("imported", "imported", "asserted")),
        (OpdRun, ("untaught", "opd", 0)),
        (SignalUsed, ("untaught", "opd", 0, "signal")),
        (BaseModel, ("untaught", "opd", 0, "start")),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else value[-1],
)
@given(fields=FIELDS)
@few
def test_parts_give_back_what_they_were_given(
    kind: type[Part], path: tuple[str | int, ...], fields: dict[str, Any], documents: dict[str, Any]
) -> None:
    place: Any = documents
    for step in path:
        place = place[step]
    value = json.loads(json.dumps(place)) | fields
    part = kind.from_json(value)
    assert part.to_json() == value
    assert kind.from_json(part.to_json()) == part


def test_what_is_given_out_shares_nothing_with_the_document(documents: dict[str, Any]) -> None:
    model = ModelIdentity.from_json(documents["sft"]["models"]["teacher"] | {"new": {"deep": []}})
    given_out = model.to_json()
    given_out["files"].clear()
    given_out["new"]["deep"].append(1)
    assert len(model.files) == 2
    assert model.unknown == {"new": {"deep": []}}

    identity = Identity.from_json(documents["sft"])
    identity.json["models"].clear()
    assert identity.json == documents["sft"]
