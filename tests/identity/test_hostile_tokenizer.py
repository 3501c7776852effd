"""Tokenizers and configs made to break their reader: each is refused, whatever the library does."""

import json
from pathlib import Path
from typing import Any

import pytest

from lopd_store.documents.tokenizer import TokenizerIdentity
from lopd_store.errors import FormatError
from lopd_store.identity.config import config_digest
from lopd_store.identity.tokenizer import blob_problems, open_tokenizer, read_tokenizer
from tests.models import save_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tokenizer(tmp_path / "model")


def unigram(*vocab: tuple[str, float]) -> dict[str, Any]:
    return {"type": "Unigram", "unk_id": None, "vocab": vocab, "byte_fallback": False}


HOSTILE = {
    "charsmap-that-is-none": {
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    },
    "normalizer-that-replaces-nothing": {
        "normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "b"}
    },
    "regex-that-never-ends": {
        "normalizer": {
            "type": "Replace",
            "pattern": {"Regex": r"(?:(?:\w|\s|.)+)+\z(?<!.)"},
            "content": "b",
        }
    },
    "pieces-that-miss-letters": {"model": unigram(("a", 0.0))},
    "word-pieces-without-unknown": {
        "model": {
            "type": "WordPiece",
            "unk_token": "[NO]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 1,
            "vocab": {"a": 0},
        }
    },
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_tokenizer_on_which_the_library_fails_or_panics_is_refused(
    folder: Path, name: str
) -> None:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | HOSTILE[name]))
    with pytest.raises(FormatError, match="expected a tokenizer"):
        read_tokenizer(folder)


@pytest.mark.parametrize("depth", [600, 900, 100_000])
def test_a_config_nested_deeper_than_python_goes_is_refused(depth: int) -> None:
    nested: Any = []
    for _ in range(depth):
        nested = [nested]
    with pytest.raises(FormatError, match="nested so deep"):
        config_digest({"vocab_size": 320, "x": nested}, own_output_embedding=True)


def test_a_blob_is_compared_with_every_identity_that_names_it(folder: Path) -> None:
    reading = read_tokenizer(folder)
    other = TokenizerIdentity.from_json(
        reading.identity.to_json() | {"vocab_digest": "sha256:" + "1" * 64}
    )
    assert blob_problems(reading.blob, [reading.identity]) == []
    (problem,) = blob_problems(reading.blob, [reading.identity, other])
    assert problem.expected == f"vocab_digest {other.vocab_digest}"
    assert problem.found == str(reading.identity.vocab_digest)


def test_a_blob_of_another_spelling_of_the_same_tokenizer_is_the_same(folder: Path) -> None:
    reading = read_tokenizer(folder)
    document = json.loads(open_tokenizer(reading.blob).to_str())
    document["model"]["merges"] = [" ".join(pair) for pair in document["model"]["merges"]]
    from lopd_store.identity.tokenizer import _pack

    blob = _pack(
        json.dumps(document, indent=1),
        template=(folder / "chat_template.jinja").read_text(),
        specials=reading.identity.special_ids,
    )
    assert blob_problems(blob, [reading.identity]) == []
