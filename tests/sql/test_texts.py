"""Texts of token ids, for the decoders that tokenizers come with."""

import json
from typing import Any

import pyarrow as pa
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from lopd_store.artifacts import load
from lopd_store.documents.identity import Identity
from lopd_store.errors import FormatError
from lopd_store.shard_sets import ShardSet, open_shard_set
from lopd_store.sql.answers import answering
from lopd_store.sql.session import ask, connect, query
from lopd_store.sql.texts import TokenTexts, texts_of
from tests.building.chain import publish, random_rows
from tests.train.signals_made import Made


def byte_level() -> Tokenizer:
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    symbols += ["Ġthe", "ing", "Ċ"] if "Ċ" not in symbols else ["Ġthe", "ing"]
    tokenizer = Tokenizer(models.BPE(vocab={s: i for i, s in enumerate(symbols)}, merges=[]))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>"])
    return tokenizer


def metaspace() -> Tokenizer:
    pieces = ["<unk>", "<0xE2>", "<0x0A>", "▁the", "ing", "▁", "a"]
    vocab = {piece: at for at, piece in enumerate(pieces)}
    model = models.BPE(vocab=vocab, merges=[], byte_fallback=True, unk_token="<unk>")  # noqa: S106
    tokenizer = Tokenizer(model)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(content=" ", left=1)])
    return tokenizer


def test_byte_level_tokens_keep_their_spaces_and_broken_bytes_their_pieces() -> None:
    tokenizer = byte_level()
    texts = texts_of(tokenizer)
    expected = {"Ġthe": " the", "ing": "ing", "Ċ": "\n", "<|end|>": "<|end|>", "â": "â"}
    for piece, text in expected.items():
        assert texts[tokenizer.token_to_id(piece) or 0] == text
    assert len(texts) == tokenizer.get_vocab_size()


def test_the_first_token_of_a_word_keeps_its_space_where_decoders_strip_it() -> None:
    texts = texts_of(metaspace())
    assert texts == ["<unk>", "<0xE2>", "\n", " the", "ing", " ", "a"]


def test_ids_without_a_token_have_no_text() -> None:
    tokenizer = Tokenizer(models.WordLevel(vocab={"a": 0, "b": 5}, unk_token="a"))  # noqa: S106
    assert texts_of(tokenizer) == [" a", None, None, None, None, " b"]
    far = Tokenizer(models.WordLevel(vocab={"a": 0, "b": 4_000_000_000}, unk_token="a"))  # noqa: S106
    assert texts_of(far) == [" a"]


def test_ids_out_of_the_vocabulary_are_null(made: Made) -> None:
    assert made.teacher.tokenizer_blob is not None
    texts = TokenTexts(made.teacher.tokenizer_blob)
    ids: Any = pa.array([0, None, -1, 5, 100_000, 2**31 - 1, -(2**31)], pa.int32())
    assert texts(ids).to_pylist() == ["<|pad|>", None, None, "!", None, None, None]
    assert texts(ids.slice(0, 0)).to_pylist() == []


def test_texts_can_be_asked_for_by_id_in_each_schema(signal: ShardSet) -> None:
    text = "select token_text(0), b.token_text(2), token_text(null), token_text(-5)"
    assert query({"a": signal, "b": signal}, text).fetchall() == [
        ("<|pad|>", "<|eos|>", None, None)
    ]


def republished(made: Made, ref: str, blob: bytes) -> ShardSet:
    """The sft data with other bytes for the tokenizer that its identity names."""
    artifact = load(made.store, "sft")
    identity = artifact.identities[0].json
    digest = str(made.store.blobs.put(blob))
    assert made.teacher.tokenizer is not None
    changed = json.loads(json.dumps(identity).replace(str(made.teacher.tokenizer.blob), digest))
    publish(made.store, ref, Identity.from_json(changed), [random_rows(5)], tokenizer_blob=blob)
    return open_shard_set(ref, root=made.store.root)


def test_a_blob_that_is_no_tokenizer_only_matters_to_who_asks_for_texts(made: Made) -> None:
    broken = republished(made, "broken", b"not a tokenizer")
    session = connect({"a": broken})
    assert ask(session, "select count(token_id) from tokens").fetchall() > [(0,)]
    with (
        pytest.raises(FormatError, match="tokenizer blob"),
        answering(session, "select max(token) from tokens") as answer,
    ):
        list(answer)


def test_rows_whose_tokenizer_is_not_at_hand_have_no_texts(made: Made) -> None:
    (path, *_) = [shard.path for shard in open_shard_set("sft", root=made.store.root).open_shards()]
    stray = open_shard_set(str(path), root=None)
    assert query({"a": stray}, "select count(token), count(*) > 0 from tokens").fetchall() == [
        (0, True)
    ]
