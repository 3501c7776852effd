"""Documents for the golden vectors: stamps and identities that hold together, and that do not."""

from typing import Any

from schemas.vectors.spelling import base64, canonical, sha256

Json = dict[str, Any]


def described(kind: str, value: Any) -> Json:
    """The descriptor of a document."""
    media_type, data = f"application/vnd.lopd.{kind}.v1+json", canonical(value)
    return {"mediaType": media_type, "digest": sha256(data), "size": len(data)}


def name(word: str) -> str:
    """A digest that stands for whatever a vector does not hold."""
    return sha256(word.encode())


def model(word: str) -> Json:
    """Who a model is, in as few fields as will do."""
    digests = {"weights_digest": name(word), "config_digest": name("config")}
    return {**digests, "vocab_size": 320, "files": {}}


def sft_identity(teacher: str) -> Json:
    """stamp.md: the identity of sft rows that a teacher wrote."""
    engine: Json = {"engine": "vllm", "versions": {}, "device": "cuda", "settings": {}}
    numbers = {"dtype": "bfloat16", "quantization": "none", "logprobs_mode": "raw_logprobs"}
    tokenizer: Json = {f"{part}_digest": name(part) for part in ("core", "vocab", "probe")}
    tokenizer |= {"vocab_size": 320, "special_ids": {"eos": [2]}, "versions": {}}
    column = {"column": "rollout_logprobs", "role": "teacher", "model": "teacher"}
    return {
        "format": "lopd.identity.v1",
        "kind": "sft",
        "models": {"teacher": model(teacher)},
        "tokenizer": tokenizer | {"blob": name("blob")},
        "sampling": {"temperature": "1", "top_p": "1", "max_tokens": 64, "seed": 0, "n": 1},
        "prompts": {"digest": name("prompts")},
        "scorings": {"sampling": engine | numbers | {"tensor_parallel_size": 1, "chunk_tokens": 9}},
        "signals": [column | {"scoring": "sampling"}],
        "precision": "exact",
    }


def sft_of(teachers: list[str]) -> Json:
    """stamp.md: the documents of an sft artifact without rows, an identity a teacher."""
    identities = [sft_identity(teacher) for teacher in teachers]
    layers = [described("identity", identity) for identity in identities]
    counts: Json = dict.fromkeys(("rows", "tokens", "prompt_tokens", "duplicates"), 0)
    artifact = {
        **counts,
        "format": "lopd.artifact.v1",
        "kind": "sft",
        "identities": [layer["digest"] for layer in layers],
        "columns": [{"name": "sample_id", "type": "string"}],
        "content_digest": name("content"),
        "lineage": [],
        "skipped": {},
    }
    blob: Json = {"mediaType": "application/vnd.lopd.tokenizer.v1+zstd", "size": 4}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.lopd.sft.v1",
        "config": described("artifact", artifact),
        "layers": [*layers, blob | {"digest": name("blob")}],
    }
    return {"manifest": manifest, "artifact": artifact, "identities": identities}


def stamps() -> Json:
    """Stamps that hold together, what they say, and stamps that a reader refuses."""
    student = {"weights_digest": name("student"), "config_digest": name("config")}
    made = {"format": "lopd.stamp.v1", "how": "made", **student}
    run = {"signal": {"identities": [name("rows")]}, "start": student}
    forced = run | {"inconsistent": [dict.fromkeys(("kind", "where", "expected", "found"), "any")]}
    sft, other = sft_of(["teacher"]), sft_of(["another teacher"])
    accepted: dict[str, Json] = {
        "one teacher": made | {"sft": sft},
        "two teachers": made | {"sft": sft_of(["teacher", "another teacher"])},
        "asserted": made | {"sft": sft, "how": "asserted"},
        "trained further": made | {"sft": sft, "opd": [run | {"start": model("first")}, run]},
        "an adapter": made | {"sft": sft, "adapter_digest": name("adapter"), "opd": [forced]},
        "sft not known": made | {"opd": [forced, run]},
    }
    refused = {
        "nothing taught it": made,
        "consistent with sft that is not known": made | {"opd": [run, forced]},
        "a run without a signal": made | {"sft": sft, "opd": [{"start": student}]},
        "no run in the history": made | {"sft": sft, "opd": []},
        "identities of another artifact": made | {"sft": sft | {"identities": other["identities"]}},
        "the document of another artifact": made | {"sft": sft | {"artifact": other["artifact"]}},
        "the manifest of another artifact": made | {"sft": sft | {"manifest": other["manifest"]}},
    }
    return {
        "accepted": [stamp_vector(why, stamp) for why, stamp in accepted.items()],
        "refused": [{"why": why, "bytes": base64(canonical(bad))} for why, bad in refused.items()],
    }


def stamp_vector(why: str, stamp: Json) -> Json:
    """A stamp's bytes and what a reader finds in them."""
    data, sft = canonical(stamp), stamp.get("sft")
    models = [identity["models"] for identity in sft["identities"]] if sft else []
    return {
        "why": why,
        "bytes": base64(data),
        "digest": sha256(data),
        "sft": sha256(canonical(sft["manifest"])) if sft else None,
        "teachers": [each["teacher"]["weights_digest"] for each in models],
        "inconsistent": ["inconsistent" in run for run in stamp.get("opd", [])],
    }


def imported_identity(**claims: Any) -> Json:
    """identity.md: a signal whose log-probs came with a file, and what was said of them."""
    bare = {key: sft_identity("any")[key] for key in ("format", "tokenizer", "precision")}
    file = {"digest": name("file"), "retokenised": True, "tokenizer": "asserted"}
    nobody: Json = {"models": {}, "scorings": {}, "signals": []}
    return {**bare, **nobody, "kind": "signal", "imported": file | claims}


def identities() -> Json:
    """Identities of imported signals: who gave the log-probs is asserted or unknown."""
    said = {"asserted": {"models": {"teacher": model("teacher")}}}
    nothing = {"unknown": ["eos", "policy", "sampling", "scoring", "teacher"]}
    nameless = imported_identity(**nothing, tokenizer="unknown")
    named = {**nameless, "tokenizer": sft_identity("any")["tokenizer"]}
    accepted: dict[str, Json] = {
        "an asserted teacher": imported_identity(**said),
        "an asserted teacher, its dtype too": imported_identity(
            asserted=said["asserted"] | {"scoring": {"dtype": "bfloat16"}}, unknown=["policy"]
        ),
        "an unknown teacher": imported_identity(**nothing),
        "an unknown tokenizer": {key: nameless[key] for key in nameless if key != "tokenizer"},
    }
    refused = {
        "no teacher, and nobody says so": imported_identity(),
        "a teacher asserted and known": imported_identity(**said)
        | {"models": {"teacher": model("teacher")}},
        "a teacher asserted and unknown": imported_identity(**said, unknown=["teacher"]),
        "rollouts of an asserted teacher": imported_identity(**said) | {"kind": "rollouts"},
        "a tokenizer that is there and unknown": named,
        "a column of a teacher that is only asserted": imported_identity(**said)
        | {"signals": sft_identity("any")["signals"]},
        "facts out of order": imported_identity(unknown=["teacher", "eos"]),
        "assertions of nothing": imported_identity(**nothing, asserted={}),
    }
    return {
        "accepted": [identity_vector(why, one) for why, one in accepted.items()],
        "refused": [{"why": why, "bytes": base64(canonical(bad))} for why, bad in refused.items()],
    }


def identity_vector(why: str, identity: Json) -> Json:
    """An identity's bytes and what a reader finds in them."""
    data, imported = canonical(identity), identity["imported"]
    said = imported.get("asserted", {}).get("models", {}).get("teacher")
    return {
        "why": why,
        "bytes": base64(data),
        "digest": sha256(data),
        "asserted_teacher": said["weights_digest"] if said else None,
        "unknown": imported.get("unknown", []),
        "tokenizer": "tokenizer" in identity,
    }
