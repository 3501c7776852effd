"""Valid documents with one thing wrong: the problem says which."""

import json
from typing import Any, NamedTuple

import pytest

from lopd_store.documents.document import problems

GONE = object()
BAD = "sha256:" + "0" * 64
SHARD = "application/vnd.lopd.shard.v1+parquet"


class Case(NamedTuple):
    """Set `pointer` to `value`: the first problem is `kind`, at `where` (else at `pointer`)."""

    wrong: str
    pointer: str
    value: Any
    kind: str
    where: str = ""


MODEL: Any = {"weights_digest": BAD, "config_digest": BAD, "vocab_size": 1, "files": {}}
SAID = "/imported/asserted"
FACT = "/imported/unknown/1"
UNKNOWN = "/imported/tokenizer"
ROWS = "/layers/2/annotations/dev.lopd.rows"
START = "/opd/0/start"
NOISE = "application/vnd.lopd.noise.v1+json"
SIGNATURE = "application/vnd.lopd.signature.v1"
SIGNED = "/signatures/0"
SUBJECT = "/subject/0/digest"
ABOUT: Any = {"digest": {"sha256": "0" * 64}}
CASES = {
    "sft": [
        Case("no format", "/format", GONE, "missing-field", "/"),
        Case("format of another document", "/format", "lopd.noise.v1", "wrong-value"),
        Case("newer format", "/format", "lopd.identity.v2", "newer-format"),
        Case("kind unheard of", "/kind", "logits", "wrong-value"),
        Case("no teacher in sft", "/models/teacher", GONE, "missing-field", "/models"),
        Case("no scoring in sft", "/scorings/sampling", GONE, "missing-field", "/scorings"),
        Case("no sampling", "/sampling", GONE, "missing-field", "/"),
        Case("a stamp in sft", "/policy_stamp", {}, "forbidden-field"),
        Case("no precision", "/precision", GONE, "missing-field", "/"),
        Case("error over 2^-1", "/precision", {"max_error": "2^0"}, "wrong-value"),
        Case("error under 2^-24", "/precision", {"max_error": "2^-25"}, "wrong-value"),
        Case("precision by name", "/precision", "half", "wrong-value"),
        Case(
            "digest in capitals",
            "/models/teacher/weights_digest",
            "sha256:" + "A" * 64,
            "not-a-digest",
        ),
        Case("digest with a newline", "/models/teacher/config_digest", BAD + "\n", "not-a-digest"),
        Case("digest that is a number", "/prompts/digest", 7, "wrong-type"),
        Case("empty vocabulary", "/models/teacher/vocab_size", 0, "out-of-range"),
        Case("vocabulary as text", "/tokenizer/vocab_size", "9", "wrong-type"),
        Case("vocabulary as boolean", "/tokenizer/vocab_size", True, "wrong-type"),
        Case("negative id", "/tokenizer/special_ids/bos", -1, "out-of-range"),
        Case("no tokenizer blob", "/tokenizer/blob", GONE, "missing-field", "/tokenizer"),
        Case("short commit", "/models/teacher/source/commit", "main", "not-a-commit"),
        Case("repo that climbs", "/models/teacher/source/repo", "../x", "bad-name"),
        Case("temperature below 0", "/sampling/temperature", "-1", "not-a-decimal"),
        Case("endless exponent", "/sampling/top_p", "1e999", "not-a-decimal"),
        Case("zero tensor parallel", "/scorings/sampling/tensor_parallel_size", 0, "out-of-range"),
    ],
    "rollouts": [
        Case("no prompts", "/prompts", GONE, "missing-field", "/"),
        Case("no rollout_logprobs", "/signals", [], "missing-entry"),
        Case("model named in capitals", "/models/Teacher", {}, "bad-name", "/models"),
        Case("signal of no model", "/signals/0/model", "ghost", "unknown-model"),
        Case("signal of no scoring", "/signals/0/scoring", "ghost", "unknown-scoring"),
        Case(
            "import without proof",
            "/imported",
            {"digest": BAD, "retokenised": False, "tokenizer": "proved"},
            "wrong-value",
            "/imported/tokenizer",
        ),
    ],
    "identity": [
        Case("teacher's log-probs of a bystander", "/signals/1/model", "policy", "wrong-model"),
        Case("policy's log-probs of the teacher", "/signals/0/model", "teacher", "wrong-model"),
        Case(
            "column named twice",
            "/signals/1/column",
            "rollout_logprobs",
            "missing-entry",
            "/signals",
        ),
        Case("no teacher scoring", "/scorings/teacher", GONE, "missing-field", "/scorings"),
        Case("no tokenizer", "/tokenizer", GONE, "missing-field", "/"),
    ],
    "imported": [
        Case("asserted teacher as known", "/models/teacher", MODEL, "forbidden-field"),
        Case("scoring of nobody known", "/scorings/teacher", {}, "forbidden-field"),
        Case("asserted by nobody", "/imported/asserted", GONE, "missing-field", "/models"),
        Case("asserted nothing", "/imported/asserted", {}, "too-few"),
        Case("asserted no model", "/imported/asserted/models", {}, "too-few"),
        Case("asserted no setting", "/imported/asserted/scoring", {}, "too-few"),
        Case("asserted dtype as a number", f"{SAID}/scoring/dtype", 16, "wrong-type"),
        Case("asserted policy that is known", "/models/policy", MODEL, "known-and-unknown", FACT),
        Case("rollouts of an asserted teacher", "/kind", "rollouts", "wrong-value"),
        Case("sft of an asserted teacher", "/kind", "sft", "wrong-value"),
        Case("asserted and unknown", FACT, "teacher", "asserted-and-unknown"),
        Case("scoring asserted and unknown", FACT, "scoring", "asserted-and-unknown"),
        Case("nothing unknown", "/imported/unknown", [], "too-few"),
        Case("unknown in capitals", FACT, "Policy", "bad-name"),
        Case("unknown twice", FACT, "eos", "unsorted", "/imported/unknown"),
        Case("unknown as text", "/imported/unknown", "policy", "wrong-type"),
        Case("tokenizer that is not unknown", UNKNOWN, "unknown", "forbidden-field", "/tokenizer"),
        Case("no tokenizer asserted", "/tokenizer", GONE, "missing-field", "/"),
        Case("read as nothing", "/imported/read_as", "", "bad-name"),
    ],
    "artifact": [
        Case("no identity", "/identities", [], "too-few"),
        Case("identity twice", "/identities", [BAD, BAD], "repeated-identity", "/identities/1"),
        Case("rows below zero", "/rows", -1, "out-of-range"),
        Case("rows beyond 2^53-1", "/rows", 2**53, "out-of-range"),
        Case("column type unheard of", "/columns/0/type", "list<list<int32>>", "wrong-value"),
        Case("column twice", "/columns/1/name", "sample_id", "repeated-column", "/columns/1"),
        Case("column name with a NUL", "/columns/1/name", "a\x00", "bad-name"),
        Case("more duplicates than rows", "/duplicates", 6, "count-mismatch"),
        Case(
            "lineage of no kind",
            "/lineage",
            [{"kind": "x", "digest": BAD}],
            "wrong-value",
            "/lineage/0/kind",
        ),
        Case("reason never met", "/skipped/empty-response", 0, "out-of-range"),
    ],
    "manifest": [
        Case("OCI version 1", "/schemaVersion", 1, "wrong-value"),
        Case("another media type", "/mediaType", "text/plain", "wrong-value"),
        Case("no artifact type", "/artifactType", GONE, "missing-field", "/"),
        Case(
            "artifact type of others",
            "/artifactType",
            "application/vnd.docker",
            "wrong-artifact-type",
        ),
        Case(
            "newer artifact type", "/artifactType", "application/vnd.lopd.signal.v2", "newer-format"
        ),
        Case("size below zero", "/layers/2/size", -1, "out-of-range"),
        Case("size as text", "/config/size", "9", "wrong-type"),
        Case("config of another type", "/config/mediaType", "text/plain", "wrong-config"),
        Case("rows with a plus", ROWS, "+2", "not-a-count"),
        Case("rows with a zero before", ROWS, "02", "not-a-count"),
        Case("rows in other digits", ROWS, "٢", "not-a-count"),
        Case("rows as a number", ROWS, 2, "wrong-type"),
        Case(
            "tokens beyond 2^53-1",
            "/layers/2/annotations/dev.lopd.tokens",
            "9007199254740992",
            "out-of-range",
        ),
        Case(
            "shard without rows",
            "/layers/3/annotations/dev.lopd.rows",
            GONE,
            "missing-field",
            "/layers/3/annotations",
        ),
        Case(
            "shard of no identity",
            "/layers/3/annotations/dev.lopd.identity",
            BAD,
            "unknown-identity",
        ),
        Case(
            "shard after skipped rows",
            "/layers/2/mediaType",
            "application/vnd.lopd.skipped.v1+jsonl",
            "layer-order",
            "/layers/3",
        ),
        Case(
            "one layer twice",
            "/layers/4/digest",
            "sha256:" + "6" * 64,
            "repeated-layer",
            "/layers/4",
        ),
    ],
    "sft_manifest": [
        Case("no tokenizer layer", "/layers/1/mediaType", "text/plain", "missing-layer", "/layers"),
    ],
    "noise_manifest": [
        Case("noise about nothing", "/subject", GONE, "wrong-subject"),
        Case("noise with a config", "/config/size", 3, "wrong-config", "/config"),
        Case(
            "noise without noise", "/layers/0/mediaType", "text/plain", "missing-layer", "/layers"
        ),
    ],
    "signature_manifest": [
        Case("signature of nothing", "/subject", GONE, "wrong-subject"),
        Case("signature with a config", "/config/size", 3, "wrong-config", "/config"),
        Case("signature of noise", "/layers/0/mediaType", NOISE, "missing-layer", "/layers"),
        Case("newer signature", "/artifactType", f"{SIGNATURE[:-1]}2", "newer-format"),
    ],
    "signature": [
        Case("signed for another use", "/payloadType", "text/plain", "wrong-value"),
        Case("nothing signed", "/payload", GONE, "missing-field", "/"),
        Case("payload for addresses", "/payload", "__-_", "not-base64"),
        Case("payload without padding", "/payload", "AA", "not-base64"),
        Case("payload with loose bits", "/payload", "AB==", "not-base64"),
        Case("signature with loose bits", f"{SIGNED}/sig", "AAB=", "not-base64"),
        Case("signed by nobody", "/signatures", [], "too-few"),
        Case("signature of no key", f"{SIGNED}/keyid", GONE, "missing-field", SIGNED),
        Case("key with a newline", f"{SIGNED}/keyid", "a\nb", "bad-text"),
        Case("no signature", f"{SIGNED}/sig", GONE, "missing-field", SIGNED),
        Case("signature in hex", f"{SIGNED}/sig", "00:ff", "not-base64"),
        Case(
            "one key twice",
            "/signatures",
            [{"keyid": "a", "sig": ""}, {"keyid": "a", "sig": ""}],
            "repeated-key",
            "/signatures/1",
        ),
    ],
    "statement": [
        Case("statement of another format", "/_type", "lopd", "wrong-value"),
        Case("statement of another fact", "/predicateType", "urn:x", "wrong-value"),
        Case("statement about nothing", "/subject", [], "too-few"),
        Case("statement about two", "/subject", [ABOUT, ABOUT], "too-many"),
        Case("subject without a digest", "/subject/0/digest", GONE, "missing-field", "/subject/0"),
        Case("subject by sha1", f"{SUBJECT}/sha256", GONE, "missing-field", SUBJECT),
        Case("subject with a prefix", f"{SUBJECT}/sha256", BAD, "not-a-digest"),
        Case("subject that is a file", "/subject/0/mediaType", "text/plain", "wrong-value"),
        Case("predicate in words", "/predicate", "good", "wrong-type"),
    ],
    "stamp": [
        Case("made by hand", "/how", "guessed", "wrong-value"),
        Case("no sft manifest", "/sft/manifest", GONE, "missing-field", "/sft"),
        Case(
            "stamp by rollouts",
            "/sft/manifest/artifactType",
            "application/vnd.lopd.rollouts.v1",
            "wrong-value",
        ),
        Case(
            "other artifact than named",
            "/sft/artifact/prompt_tokens",
            34,
            "digest-mismatch",
            "/sft/artifact",
        ),
        Case(
            "other teacher than named",
            "/sft/identities/0/models/teacher/weights_digest",
            BAD,
            "digest-mismatch",
            "/sft/identities/0",
        ),
        Case(
            "size that lies", "/sft/manifest/layers/0/size", 1, "size-mismatch", "/sft/identities/0"
        ),
        Case("newer sft identity", "/sft/identities/0/format", "lopd.identity.v2", "newer-format"),
        Case("no sft and no history", "/sft", GONE, "missing-field", "/"),
        Case("adapter by name", "/adapter_digest", "lora", "not-a-digest"),
    ],
    "trained": [
        Case("no run at all", "/opd", [], "too-few"),
        Case("run on nothing", "/opd/0/signal", GONE, "missing-field", "/opd/0"),
        Case("signal of nobody", "/opd/0/signal/identities", [], "too-few"),
        Case("run from nowhere", "/opd/0/start/weights_digest", GONE, "missing-field", START),
        Case("inconsistent for no reason", "/opd/0/inconsistent", [], "too-few"),
        Case("consistent with unknown sft", "/sft", GONE, "missing-field", "/opd/0"),
    ],
    "untaught": [
        Case("passed without sft", "/opd/0/inconsistent", GONE, "missing-field", "/opd/0"),
        Case(
            "problem without a kind",
            "/opd/0/inconsistent/0/kind",
            GONE,
            "missing-field",
            "/opd/0/inconsistent/0",
        ),
    ],
    "noise": [
        Case("noise mean over max", "/mean_abs", "2e-05", "out-of-range"),
        Case("noise below zero", "/bound", "-1", "not-a-decimal"),
        Case("noise of infinity", "/bound", "inf", "not-a-decimal"),
        Case("more differ than were scored", "/differing", 1001, "count-mismatch"),
    ],
    "index": [
        Case("no manifests", "/manifests", GONE, "missing-field", "/"),
        Case(
            "index entry without size", "/manifests/0/size", GONE, "missing-field", "/manifests/0"
        ),
    ],
    "skipped": [
        Case("reason with a space", "/reason", "it broke", "bad-name"),
        Case("row below zero", "/row", -1, "out-of-range"),
    ],
}
SCHEMAS = {
    "sft": "identity",
    "rollouts": "identity",
    "imported": "identity",
    "sft_manifest": "manifest",
    "noise_manifest": "manifest",
    "signature_manifest": "manifest",
    "statement": "signature#statement",
    "trained": "stamp",
    "untaught": "stamp",
}
NAMES = [
    "/model",
    "../model",
    "a/../b",
    "a/./b",
    "..",
    "a//b",
    "a\\b",
    "C:a",
    "a\0b",
    "a\n",
    "",
    "a/",
]


def changed(document: Any, pointer: str, value: Any) -> Any:
    """A copy of the document with one value set or taken away."""
    copy = json.loads(json.dumps(document))
    *path, last = pointer.removeprefix("/").split("/")
    place = copy
    for step in path:
        place = place[int(step) if isinstance(place, list) else step]
    if value is GONE:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return copy


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(name, case, id=f"{name}: {case.wrong}")
        for name, cases in CASES.items()
        for case in cases
    ],
)
def test_one_wrong_thing_is_named(name: str, case: Case, documents: dict[str, Any]) -> None:
    document, schema = documents[name], SCHEMAS.get(name, name)
    assert problems(document, schema) == []
    found = problems(changed(document, case.pointer, case.value), schema)
    assert (found[0].kind, found[0].where) == (case.kind, case.where or case.pointer)


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_file_name_that_could_leave_its_folder_is_refused(
    name: str, documents: dict[str, Any]
) -> None:
    documents["sft"]["models"]["teacher"]["files"][name] = BAD
    (problem,) = problems(documents["sft"], "identity")
    assert (problem.kind, problem.where) == ("unsafe-name", "/models/teacher/files")


@pytest.mark.parametrize("name", ["a", "a.b-c_d", "a/b/c", "...", "a..b", "é", ".gitattributes"])
def test_an_ordinary_file_name_is_accepted(name: str, documents: dict[str, Any]) -> None:
    documents["sft"]["models"]["teacher"]["files"][name] = BAD
    assert problems(documents["sft"], "identity") == []


def test_every_problem_is_reported_at_once(documents: dict[str, Any]) -> None:
    broken = changed(documents["artifact"], "/rows", "many")
    broken = changed(broken, "/kind", "logits")
    del broken["tokens"]
    found = [(problem.kind, problem.where) for problem in problems(broken, "artifact")]
    expected = [("missing-field", "/"), ("wrong-value", "/kind"), ("wrong-type", "/rows")]
    assert found == expected


def test_layers_of_unknown_types_may_stand_anywhere(documents: dict[str, Any]) -> None:
    layer = {"mediaType": "application/vnd.example", "digest": BAD, "size": 0}
    documents["manifest"]["layers"].insert(3, layer)
    assert problems(documents["manifest"], "manifest") == []


def test_imported_rows_need_no_policy_and_no_sampling(documents: dict[str, Any]) -> None:
    imported = {"digest": BAD, "retokenised": True, "tokenizer": "asserted"}
    bare = {
        **documents["rollouts"],
        "imported": imported,
        "models": {},
        "scorings": {},
        "signals": [],
    }
    del bare["sampling"], bare["prompts"]
    assert problems(bare, "identity") == []


def test_a_stamp_that_forgets_an_identity_is_refused(documents: dict[str, Any]) -> None:
    stamp = documents["stamp"]
    stamp["sft"]["identities"] *= 2
    kinds = [(problem.kind, problem.where) for problem in problems(stamp, "stamp")]
    assert kinds == [("count-mismatch", "/sft/identities")]


def test_counts_that_do_not_add_up_are_refused(documents: dict[str, Any]) -> None:
    stamp = documents["stamp"]
    stamp["sft"]["manifest"]["layers"][2]["annotations"]["dev.lopd.rows"] = "3"
    kinds = [(problem.kind, problem.where) for problem in problems(stamp, "stamp")]
    assert kinds == [("count-mismatch", "/sft/artifact/rows")]
