"""One valid document of each kind, as plain JSON, made with the standard library alone."""

import hashlib
import json
from base64 import b64encode
from typing import Any

import pytest

Json = dict[str, Any]


def digest(character: str) -> str:
    """A digest that is easy to tell from another."""
    return f"sha256:{character * 64}"


def canonical(value: Any) -> bytes:
    """RFC 8785 for the ASCII keys and integers of these documents."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def named(media_type: str, value: Any) -> Json:
    """The descriptor of a document."""
    data = canonical(value)
    found = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return {"mediaType": media_type, "digest": found, "size": len(data)}


def model(character: str) -> Json:
    """Who a model is."""
    return {
        "weights_digest": digest(character),
        "config_digest": digest("c"),
        "vocab_size": 151936,
        "files": {"model.safetensors": digest("f"), "onnx/config.json": digest("e")},
        "source": {"repo": "Qwen/Qwen3-8B", "commit": "0123456789" * 4},
    }


def signal(column: str, role: str, scoring: str) -> Json:
    """Who gave a column of log-probs."""
    return {"column": column, "role": role, "model": role, "scoring": scoring}


SCORING: Json = {
    "engine": "vllm",
    "versions": {"vllm": "0.32.0", "torch": "2.13.0+cpu"},
    "dtype": "float32",
    "quantization": "none",
    "device": "cpu",
    "logprobs_mode": "raw_logprobs",
    "tensor_parallel_size": 1,
    "chunk_tokens": 2048,
    "settings": {"enable_prefix_caching": "false"},
}
TOKENIZER: Json = {
    "core_digest": digest("1"),
    "vocab_digest": digest("2"),
    "probe_digest": digest("3"),
    "chat_template_digest": digest("4"),
    "vocab_size": 151669,
    "special_ids": {"eos": [151645, 151643], "pad": 151643},
    "versions": {"tokenizers": "0.23.3"},
    "blob": digest("b"),
}
SAMPLING: Json = {"temperature": "0.8", "top_p": "1", "max_tokens": 4096, "seed": 0, "n": 4}


def identity_of(kind: str, models: Json, scorings: Json, signals: list[Json]) -> Json:
    """An identity document."""
    return {
        "format": "lopd.identity.v1",
        "kind": kind,
        "models": models,
        "tokenizer": TOKENIZER,
        "sampling": SAMPLING,
        "prompts": {"digest": digest("9")},
        "scorings": scorings,
        "signals": signals,
        "precision": "exact",
    }


def artifact_of(kind: str, identity: Json) -> Json:
    """An artifact document of two shards with 5 rows and 90 tokens."""
    return {
        "format": "lopd.artifact.v1",
        "kind": kind,
        "identities": [named("", identity)["digest"]],
        "columns": [
            {"name": "sample_id", "type": "string"},
            {"name": "response_ids", "type": "list<int32>"},
        ],
        "rows": 5,
        "tokens": 90,
        "prompt_tokens": 33,
        "content_digest": digest("7"),
        "duplicates": 1,
        "lineage": [],
        "skipped": {"empty-response": 2},
    }


def shard(character: str, rows: int, tokens: int, identity: str) -> Json:
    """The descriptor of a shard."""
    notes = {"rows": str(rows), "tokens": str(tokens), "identity": identity}
    return {
        "mediaType": "application/vnd.lopd.shard.v1+parquet",
        "digest": digest(character),
        "size": 1000,
        "annotations": {f"dev.lopd.{key}": value for key, value in notes.items()},
    }


def manifest_of(kind: str, identity: Json) -> Json:
    """The manifest of an artifact with two shards."""
    layer = named("application/vnd.lopd.identity.v1+json", identity)
    tokenizer = "application/vnd.lopd.tokenizer.v1+zstd"
    skipped = "application/vnd.lopd.skipped.v1+jsonl"
    return {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": f"application/vnd.lopd.{kind}.v1",
        "config": named("application/vnd.lopd.artifact.v1+json", artifact_of(kind, identity)),
        "layers": [
            layer,
            {"mediaType": tokenizer, "digest": digest("b"), "size": 7},
            shard("5", 2, 40, layer["digest"]),
            shard("6", 3, 50, layer["digest"]),
            {"mediaType": skipped, "digest": digest("8"), "size": 70},
        ],
    }


def evidence_of(kind: str, document: Json, subject: Json) -> Json:
    """The manifest that attaches evidence to an artifact."""
    return {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": f"application/vnd.lopd.{kind}.v1",
        "config": named("application/vnd.oci.empty.v1+json", {}),
        "layers": [named(f"application/vnd.lopd.{kind}.v1+json", document)],
        "subject": named("application/vnd.oci.image.manifest.v1+json", subject),
    }


@pytest.fixture
def documents() -> dict[str, Json]:
    """Fresh documents by name; the names are those of their schemas where there is one each."""
    sampled = {"sampling": SCORING}
    sft = identity_of(
        "sft", {"teacher": model("a")}, sampled, [signal("rollout_logprobs", "teacher", "sampling")]
    )
    stamp = {
        "format": "lopd.stamp.v1",
        "how": "made",
        "weights_digest": digest("d"),
        "config_digest": digest("c"),
        "base": {"weights_digest": digest("0"), "config_digest": digest("c")},
        "sft": {
            "manifest": manifest_of("sft", sft),
            "artifact": artifact_of("sft", sft),
            "identities": [sft],
        },
    }
    run = {
        "signal": {"artifact": digest("2"), "identities": [digest("3")]},
        "start": {"weights_digest": digest("4"), "config_digest": digest("c")},
    }
    problem = {"kind": "no-stamp", "where": "student", "expected": "a stamp", "found": "none"}
    untaught = {
        **{name: stamp[name] for name in ("format", "how", "weights_digest", "config_digest")},
        "adapter_digest": digest("5"),
        "opd": [run | {"inconsistent": [problem]}, run],
    }
    rolled = [signal("rollout_logprobs", "policy", "sampling")]
    rollouts = identity_of("rollouts", {"policy": model("d")}, sampled, rolled)
    taught = [*rolled, signal("teacher_logprobs", "teacher", "teacher")]
    identity = identity_of(
        "signal",
        {"policy": model("d"), "teacher": model("a")},
        {**sampled, "teacher": SCORING},
        taught,
    )
    identity |= {"policy_stamp": stamp, "precision": {"max_error": "2^-12"}}
    imported = identity_of("signal", {}, {}, []) | {
        "imported": {
            "digest": digest("8"),
            "retokenised": True,
            "tokenizer": "asserted",
            "read_as": "lightning-opd",
            "asserted": {"models": {"teacher": model("a")}, "scoring": {"dtype": "bfloat16"}},
            "unknown": ["eos", "policy", "sampling"],
        }
    }
    del imported["sampling"], imported["prompts"]
    noise = {
        "format": "lopd.noise.v1",
        "scoring": "teacher",
        "rows": 32,
        "tokens": 1000,
        "differing": 400,
        "mean_abs": "1.2e-06",
        "max_abs": "1.5e-05",
        "bound": "1e-04",
    }
    manifest = manifest_of("signal", identity)
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {
                "digest": {"sha256": named("", manifest)["digest"].removeprefix("sha256:")},
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
            }
        ],
        "predicateType": "urn:lopd:signature:v1",
        "predicate": {"artifactType": "application/vnd.lopd.signal.v1"},
    }
    signature = {
        "payloadType": "application/vnd.in-toto+json",
        "payload": b64encode(canonical(statement)).decode(),
        "signatures": [{"keyid": digest("6"), "sig": b64encode(bytes(64)).decode()}],
    }
    fresh: dict[str, Json] = {
        "sft": sft,
        "rollouts": rollouts,
        "identity": identity,
        "imported": imported,
        "sft_manifest": manifest_of("sft", sft),
        "artifact": artifact_of("signal", identity),
        "manifest": manifest,
        "stamp": stamp,
        "trained": stamp | {"opd": [run]},
        "untaught": untaught,
        "noise": noise,
        "noise_manifest": evidence_of("noise", noise, manifest),
        "statement": statement,
        "signature": signature,
        "signature_manifest": evidence_of("signature", signature, manifest),
        "index": {"schemaVersion": 2, "manifests": [named("a/b", manifest)]},
        "skipped": {"row": 0, "reason": "empty-response", "detail": "no token"},
    }
    copied: dict[str, Json] = json.loads(json.dumps(fresh))
    return copied
