"""What a schema cannot say: fields of a document that must agree with each other.

Each function takes a document that its schema has passed and returns every problem.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from lopd_store import canonical
from lopd_store.digest import Digest
from lopd_store.documents import claims, media
from lopd_store.errors import Problem

_EVIDENCE: Final = {media.NOISE_TYPE: media.NOISE, media.SIGNATURE_TYPE: media.SIGNATURE}


def problems(document: Any, name: str) -> list[Problem]:
    """Every broken rule of the document kind `name`; kinds without rules have none."""
    rule = _RULES.get(name)
    return rule(document) if rule else []


def identity(document: Mapping[str, Any]) -> list[Problem]:
    """Signals name models and scorings that exist, the right ones; no column has two origins."""
    found = []
    for index, signal in enumerate(document["signals"]):
        for field, kind in (("model", "unknown-model"), ("scoring", "unknown-scoring")):
            known = document[f"{field}s"]
            if signal[field] not in known:
                where = f"/signals/{index}/{field}"
                found.append(Problem(kind, where, _one_of(known), repr(signal[field])))
    found += _givers(document) + claims.problems(document)
    columns = [signal["column"] for signal in document["signals"]]
    found += _repeated(columns, "/signals", "repeated-signal")
    if "policy_stamp" in document:
        found += _inside("/policy_stamp", stamp(document["policy_stamp"]))
    return found


def artifact(document: Mapping[str, Any]) -> list[Problem]:
    """Names and identities once each; no more duplicates than rows."""
    names = [column["name"] for column in document["columns"]]
    found = _repeated(names, "/columns", "repeated-column")
    found += _repeated(document["identities"], "/identities", "repeated-identity")
    if document["duplicates"] > document["rows"]:
        expected = f"at most the {document['rows']} rows"
        found.append(
            Problem("count-mismatch", "/duplicates", expected, str(document["duplicates"]))
        )
    return found


def manifest(document: Mapping[str, Any]) -> list[Problem]:
    """The parts that the artifact type asks for, in their order, each once."""
    digests = [layer["digest"] for layer in document["layers"]]
    found = _repeated(digests, "/layers", "repeated-layer")
    kind = media.kind_of(document["artifactType"])
    if kind in media.KINDS:
        found += _artifact_config(document) + _layer_order(document, kind) + _shards(document)
    elif document["artifactType"] in _EVIDENCE:
        found += _evidence_manifest(document, _EVIDENCE[document["artifactType"]])
    return found


def stamp(document: Mapping[str, Any]) -> list[Problem]:
    """Embedded documents are those whose digests the manifest names; no sft, no consistent run."""
    if "sft" not in document:
        return _first_run(document)
    sft = document["sft"]
    parts = [("/sft/manifest", manifest(sft["manifest"]))]
    parts.append(("/sft/artifact", artifact(sft["artifact"])))
    for index, embedded in enumerate(sft["identities"]):
        parts.append((f"/sft/identities/{index}", identity(embedded)))
    found = [problem for where, inner in parts for problem in _inside(where, inner)]
    return found or _embedded(sft) + _inside("/sft", agreement(sft["manifest"], sft["artifact"]))


def noise(document: Mapping[str, Any]) -> list[Problem]:
    """A mean is at most the maximum; no more differing tokens than tokens."""
    found = []
    if float(document["mean_abs"]) > float(document["max_abs"]):
        expected = f"at most max_abs {document['max_abs']}"
        found.append(Problem("out-of-range", "/mean_abs", expected, document["mean_abs"]))
    if document["differing"] > document["tokens"]:
        expected = f"at most the {document['tokens']} tokens"
        found.append(Problem("count-mismatch", "/differing", expected, str(document["differing"])))
    return found


def signature(document: Mapping[str, Any]) -> list[Problem]:
    """Each key once; of the spellings that base64 has for some bytes, the one that writers use."""
    signed = document["signatures"]
    texts = {"/payload": document["payload"]}
    texts |= {f"/signatures/{index}/sig": one["sig"] for index, one in enumerate(signed)}
    found = [
        Problem("not-base64", where, "unused bits that are 0", "1")
        for where, text in texts.items()
        if b64encode(b64decode(text)).decode() != text
    ]
    return found + _repeated([one["keyid"] for one in signed], "/signatures", "repeated-key")


def agreement(manifest: Mapping[str, Any], artifact: Mapping[str, Any]) -> list[Problem]:
    """Where an artifact's manifest and its artifact document contradict each other."""
    found = []
    kind = media.kind_of(manifest["artifactType"])
    if kind != artifact["kind"]:
        found.append(Problem("kind-mismatch", "/artifact/kind", repr(kind), repr(artifact["kind"])))
    identities = [layer["digest"] for layer in _of_type(manifest, media.IDENTITY)]
    if identities != artifact["identities"]:
        expected = f"the identity layers {', '.join(identities)}"
        shown = ", ".join(artifact["identities"])
        found.append(Problem("identity-mismatch", "/artifact/identities", expected, shown))
    shards = _of_type(manifest, media.SHARD)
    for field, key in (("rows", media.ROWS), ("tokens", media.TOKENS)):
        total = sum(int(shard["annotations"][key]) for shard in shards)
        if total != artifact[field]:
            expected = f"{total}, the sum over shards"
            where = f"/artifact/{field}"
            found.append(Problem("count-mismatch", where, expected, str(artifact[field])))
    return found


def _givers(document: Mapping[str, Any]) -> list[Problem]:
    """`teacher` gave teacher_logprobs: else whoever compares that model compares a bystander."""
    sampled_by = "teacher" if document["kind"] == "sft" else "policy"
    givers = {"teacher_logprobs": "teacher", "rollout_logprobs": sampled_by}
    return [
        Problem("wrong-model", f"/signals/{index}/model", repr(giver), repr(signal["model"]))
        for index, signal in enumerate(document["signals"])
        if (giver := givers.get(signal["column"])) not in (None, signal["model"])
        and signal["model"] in document["models"]
    ]


def _artifact_config(document: Mapping[str, Any]) -> list[Problem]:
    found = document["config"]["mediaType"]
    if found == media.ARTIFACT:
        return []
    return [Problem("wrong-config", "/config/mediaType", media.ARTIFACT, found)]


def _layer_order(document: Mapping[str, Any], kind: str) -> list[Problem]:
    """Known layers in LAYER_ORDER; layers of types we do not know may stand anywhere.

    Imported rows may have no tokenizer: whether identities name one, a manifest cannot say.
    """
    found = []
    reached = 0
    for index, layer in enumerate(document["layers"]):
        if layer["mediaType"] not in media.LAYER_ORDER:
            continue
        place = media.LAYER_ORDER.index(layer["mediaType"])
        if place < reached:
            expected = "identities, tokenizers, shards, then skipped rows"
            found.append(Problem("layer-order", f"/layers/{index}", expected, layer["mediaType"]))
        reached = max(reached, place)
    needed = (media.IDENTITY, media.TOKENIZER) if kind == "sft" else (media.IDENTITY,)
    found += [
        Problem("missing-layer", "/layers", f"a layer of type {required}", "none")
        for required in needed
        if not _of_type(document, required)
    ]
    if (count := len(_of_type(document, media.SKIPPED))) > 1:
        found.append(Problem("too-many", "/layers", "one list of skipped rows", str(count)))
    return found


def _shards(document: Mapping[str, Any]) -> list[Problem]:
    identities = {layer["digest"] for layer in _of_type(document, media.IDENTITY)}
    found = []
    for index, layer in enumerate(document["layers"]):
        if layer["mediaType"] != media.SHARD:
            continue
        where = f"/layers/{index}/annotations"
        notes = layer.get("annotations", {})
        for key in (media.ROWS, media.TOKENS, media.IDENTITY_DIGEST):
            if key not in notes:
                found.append(Problem("missing-field", where, f"the field {key!r}", "none"))
            elif key != media.IDENTITY_DIGEST and int(notes[key]) > canonical.MAX_INTEGER:
                found.append(
                    Problem("out-of-range", f"{where}/{key}", "at most 2^53-1", notes[key])
                )
        named = notes.get(media.IDENTITY_DIGEST)
        if named is not None and named not in identities:
            where = f"{where}/{media.IDENTITY_DIGEST}"
            found.append(
                Problem("unknown-identity", where, "the digest of an identity layer", named)
            )
    return found


def _evidence_manifest(document: Mapping[str, Any], layer: str) -> list[Problem]:
    """The empty config, one layer of its type, and a subject."""
    found = []
    config = document["config"]
    empty = (media.OCI_EMPTY, str(media.EMPTY_DIGEST), len(media.EMPTY_DATA))
    if (config["mediaType"], config["digest"], config["size"]) != empty:
        expected = f"the empty document, {media.OCI_EMPTY} {media.EMPTY_DIGEST}"
        shown = f"{config['mediaType']} {config['digest']}"
        found.append(Problem("wrong-config", "/config", expected, shown))
    if (count := len(_of_type(document, layer))) != 1:
        found.append(Problem("missing-layer", "/layers", f"one {layer}", str(count)))
    subject = document.get("subject", {}).get("mediaType", "none")
    if subject != media.OCI_MANIFEST:
        expected = f"the artifact's {media.OCI_MANIFEST}"
        found.append(Problem("wrong-subject", "/subject", expected, subject))
    return found


def _first_run(document: Mapping[str, Any]) -> list[Problem]:
    """Nothing can be consistent with sft data that nobody knows."""
    if "inconsistent" in document["opd"][0]:
        return []
    expected = "the field 'inconsistent', as there is no sft"
    return [Problem("missing-field", "/opd/0", expected, "none")]


def _embedded(sft: Mapping[str, Any]) -> list[Problem]:
    named = sft["manifest"]["config"]
    found = _is_named("/sft/artifact", sft["artifact"], named)
    layers = _of_type(sft["manifest"], media.IDENTITY)
    if len(layers) != len(sft["identities"]):
        expected = f"the manifest's {len(layers)}"
        shown = str(len(sft["identities"]))
        return [*found, Problem("count-mismatch", "/sft/identities", expected, shown)]
    for index, (document, layer) in enumerate(zip(sft["identities"], layers, strict=True)):
        found += _is_named(f"/sft/identities/{index}", document, layer)
    return found


def _is_named(where: str, document: Any, descriptor: Mapping[str, Any]) -> list[Problem]:
    data = canonical.encode(document)
    digest = str(Digest.of(data))
    if digest != descriptor["digest"]:
        return [Problem("digest-mismatch", where, descriptor["digest"], digest)]
    if len(data) != descriptor["size"]:
        expected = f"{descriptor['size']} bytes"
        return [Problem("size-mismatch", where, expected, f"{len(data)} bytes")]
    return []


def _of_type(manifest: Mapping[str, Any], media_type: str) -> list[Mapping[str, Any]]:
    return [layer for layer in manifest["layers"] if layer["mediaType"] == media_type]


def _repeated(values: Iterable[str], where: str, kind: str) -> list[Problem]:
    seen: set[str] = set()
    found = []
    for index, value in enumerate(values):
        if value in seen:
            found.append(Problem(kind, f"{where}/{index}", "each once", repr(value)))
        seen.add(value)
    return found


def _one_of(names: Iterable[str]) -> str:
    return f"one of {', '.join(sorted(names)) or 'none'}"


def _inside(where: str, problems: Iterable[Problem]) -> list[Problem]:
    return [
        Problem(problem.kind, where + problem.where, problem.expected, problem.found)
        for problem in problems
    ]


_RULES: Final[Mapping[str, Callable[[Any], list[Problem]]]] = {
    "identity": identity,
    "artifact": artifact,
    "manifest": manifest,
    "stamp": stamp,
    "noise": noise,
    "signature": signature,
}
