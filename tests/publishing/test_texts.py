"""The text of ids: what the tokenizers library shows, and never more than there is room for."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders
from tokenizers.models import WordLevel

from lopd_store.errors import FormatError
from lopd_store.publishing import texts as module
from lopd_store.publishing.texts import Texts
from lopd_store.rows import flat


def words(pieces: dict[str, int], decoder: Any = None) -> Tokenizer:
    tokenizer = Tokenizer(WordLevel(pieces, unk_token=next(iter(pieces))))
    if decoder is not None:
        tokenizer.decoder = decoder
    return tokenizer


def ids(*rows: list[int]) -> Any:
    return pa.array(rows, pa.list_(pa.int32()))


def test_bytes_that_are_no_characters_are_shown_as_such(models: dict[str, Path]) -> None:
    """Half of an é, then a whole one: byte-level tokens need not end where characters do."""
    reader = Tokenizer.from_file(str(models["teacher"] / "tokenizer.json"))
    both = reader.encode("é").ids
    assert len(both) == 2
    assert Texts(reader).decoded(ids(both[:1], both, [])).to_pylist() == ["�", "é", ""]


def test_no_rows_have_no_text() -> None:
    found = Texts(words({"a": 0})).decoded(ids())
    assert (len(found), found.type) == (0, pa.string())


def test_rows_are_shown_in_slices_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SLICE_BYTES", 10)
    rows = [[0] * (number % 7) + [1, 99] * (number % 3) for number in range(100)]
    reader = words({"a": 0, "bc": 1, "far": 2**31 - 1})
    found = Texts(reader).decoded(pa.array([[9], *rows], pa.list_(pa.int32())).slice(1))
    assert found.to_pylist() == reader.decode_batch(rows, skip_special_tokens=False)


GROWING = {
    "long tokens": (words({"a" * (1 << 20): 0}), 20),
    "a decoder": (words({"a": 0}, decoders.Replace("a", "b" * (1 << 20))), 20),
    "a decoder that doubles": (
        words({"a": 0}, decoders.Sequence([decoders.Replace("a", "aa") for _ in range(40)])),
        1,
    ),
    "a decoder between characters": (
        words({"a" * 2000: 0}, decoders.Replace(Regex(""), "b" * 10_000)),
        1,
    ),
}


@pytest.mark.parametrize(("reader", "count"), GROWING.values(), ids=GROWING)
def test_a_row_of_text_without_measure_is_refused_before_it_is_made(
    reader: Tokenizer, count: int
) -> None:
    with pytest.raises(FormatError, match=r"at most 16,777,216 bytes in a row.*--no-text"):
        Texts(reader).decoded(ids([0] * count))


def test_a_row_group_of_text_without_measure_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_GROUP_BYTES", 1 << 20)
    monkeypatch.setattr(module, "_SLICE_BYTES", 1 << 18)
    reader = Texts(words({"a" * 1000: 0}))
    assert len(reader.decoded(ids(*[[0]] * 1000))) == 1000
    with pytest.raises(FormatError, match=r"bytes in a row group, found more.*--no-text"):
        reader.decoded(ids(*[[0]] * 2000))


PIECES = st.text("ab<0xFF>▁Ġé|# ", max_size=6)
DECODERS = st.one_of(
    st.builds(decoders.Replace, PIECES, PIECES),
    st.builds(lambda text: decoders.Replace(Regex("a*"), text), PIECES),
    st.just(decoders.ByteFallback()),
    st.just(decoders.ByteLevel()),
    st.just(decoders.Fuse()),
    st.builds(decoders.Strip, st.just("a"), st.integers(0, 2), st.integers(0, 2)),
    st.builds(decoders.WordPiece, PIECES, st.booleans()),
    st.builds(decoders.BPEDecoder, PIECES),
    st.builds(decoders.CTC, PIECES, PIECES, st.booleans()),
    st.just(decoders.Metaspace()),
)


@given(
    pieces=st.lists(PIECES, min_size=1, max_size=8, unique=True),
    steps=st.lists(DECODERS, max_size=4),
    row=st.lists(st.integers(0, 9), max_size=20),
)
@settings(max_examples=400, deadline=None)
def test_no_text_is_longer_than_was_said(
    pieces: list[str], steps: list[Any], row: list[int]
) -> None:
    decoder = decoders.Sequence(steps) if steps else None
    reader = Texts(words({piece: number for number, piece in enumerate(pieces)}, decoder))
    (bound,) = reader._bounds(flat.lists(ids(row)))
    try:
        (shown,) = reader.decoded(ids(row)).to_pylist()
    except FormatError:  # some decoders panic
        return
    assert len(shown.encode()) <= bound
