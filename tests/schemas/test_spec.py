"""The chapters: every example is checked, every link leads somewhere, the examples fit together."""

import hashlib
import json
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from lopd_store import canonical
from lopd_store.documents import ArtifactDocument, Identity, Manifest, Stamp, Statement, media
from lopd_store.documents.document import problems
from lopd_store.identity.probes import PROBES

FOLDER = Path(__file__).parents[2] / "schemas"
CHAPTERS = sorted(FOLDER.glob("*.md"))
BLOCK = re.compile(r"^```(jsonl?\b[^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def blocks() -> list[Any]:
    """Every JSON example, as a test case."""
    return [
        pytest.param(info, text, id=f"{chapter.name} {number}")
        for chapter in CHAPTERS
        for number, (info, text) in enumerate(BLOCK.findall(chapter.read_text("utf-8")))
    ]


@pytest.mark.parametrize(("info", "text"), blocks())
def test_an_example_is_valid_or_says_why_not(info: str, text: str) -> None:
    language, _, claim = info.partition(",")
    key, _, value = claim.partition("=")
    assert key in ("schema", "no-schema"), "expected json,schema=NAME or json,no-schema=REASON"
    assert value
    for part in text.splitlines() if language == "jsonl" else [text]:
        document = json.loads(part)
        if key == "schema":
            assert problems(document, value) == []


def example(chapter: str) -> Any:
    """The first example of a chapter."""
    found = BLOCK.search((FOLDER / chapter).read_text("utf-8"))
    assert found
    return json.loads(found[2])


def test_the_examples_are_the_documents_of_one_artifact() -> None:
    manifest = Manifest.from_json(example("manifest.md"))
    artifact = ArtifactDocument.from_json(example("artifact.md"))
    identity = Identity.from_json(example("identity.md"))
    assert manifest.disagreements(artifact) == []
    stamp = example("stamp.md") | {
        "sft": {"manifest": manifest.json, "artifact": artifact.json, "identities": [identity.json]}
    }
    assert Stamp.from_json(stamp).sft_manifest_digest == manifest.digest
    (ref,) = example("store.md")["manifests"]
    assert ref["digest"] == str(manifest.digest)
    assert manifest.tokenizers[0].digest == identity.tokenizer_blob
    skipped = BLOCK.findall((FOLDER / "manifest.md").read_text("utf-8"))[1][1]
    assert manifest.skipped is not None
    assert manifest.skipped.size == len(skipped)
    assert manifest.skipped.digest.hex == hashlib.sha256(skipped.encode()).hexdigest()


def test_evidence_in_the_examples_is_about_that_artifact() -> None:
    texts = BLOCK.findall((FOLDER / "evidence.md").read_text("utf-8"))
    noise, noise_manifest, statement, signature, signature_manifest = (
        json.loads(text) for _, text in texts
    )
    artifact = Manifest.from_json(example("manifest.md"))
    for document, manifest in ((noise, noise_manifest), (signature, signature_manifest)):
        found = Manifest.from_json(manifest)
        assert found.layers[0].digest.hex == hashlib.sha256(canonical.encode(document)).hexdigest()
        assert found.layers[0].size == len(canonical.encode(document))
        assert found.subject is not None
        assert found.subject.digest == artifact.digest
    assert b64decode(signature["payload"]) == canonical.encode(statement)
    assert Statement.from_json(statement) == Statement.of(artifact)


def anchors(chapter: Path) -> set[str]:
    """The names of a chapter's headings, as renderers make them."""
    titles = HEADING.findall(chapter.read_text("utf-8"))
    return {re.sub(r"[^a-z0-9_ -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)
def test_links_lead_somewhere(chapter: Path) -> None:
    for link in LINK.findall(chapter.read_text("utf-8")):
        if link.startswith("https://"):
            continue
        target, _, anchor = link.partition("#")
        path = FOLDER / target if target else chapter
        assert path.exists(), link
        assert not anchor or anchor in anchors(path), link


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)
def test_prose_has_one_sentence_a_line(chapter: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", chapter.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for line in prose.splitlines():
        if line[:1].isalpha():
            assert not re.search(r"[a-z)`]\. [A-Z]", line), line


def test_the_map_names_every_chapter() -> None:
    linked = set(LINK.findall((FOLDER / "README.md").read_text("utf-8")))
    assert {chapter.name for chapter in CHAPTERS} - {"README.md"} <= linked


def test_the_media_types_are_those_of_the_manifest_chapter() -> None:
    text = (FOLDER / "manifest.md").read_text("utf-8")
    written = set(re.findall(r"^\| `(application/[^`]+)` \|", text, re.MULTILINE))
    types = {
        media.OCI_MANIFEST,
        media.ARTIFACT,
        media.IDENTITY,
        media.TOKENIZER,
        media.SHARD,
        media.SKIPPED,
        media.NOISE,
        media.SIGNATURE,
        media.OCI_EMPTY,
    }
    assert written == types


def test_the_probe_texts_are_the_published_ones() -> None:
    assert json.loads((FOLDER / "v1" / "probes.json").read_text("utf-8")) == list(PROBES)
