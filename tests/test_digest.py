"""Content names: their grammar, hashing in pieces, and tags that bind every part."""

import hashlib
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lopd_store.digest import READ_BYTES, Digest, read_blocks, tagged
from lopd_store.errors import FormatError

QUICK = settings(deadline=None, max_examples=60)  # a busy machine is no failure

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

NOT_DIGESTS = {
    "empty": "",
    "bare-hex": "0" * 64,
    "upper-case": "sha256:" + "A" * 64,
    "too-short": "sha256:" + "0" * 63,
    "too-long": "sha256:" + "0" * 65,
    "other-hash": "sha512:" + "0" * 64,
    "newline-at-the-end": "sha256:" + "0" * 64 + "\n",
    "space-before": " sha256:" + "0" * 64,
    "a-path": "sha256:../../etc/passwd",
    "other-digits": "sha256:" + "٣" * 64,
}


def test_the_digest_of_nothing_is_the_published_one(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    assert str(Digest.of(b"")) == str(Digest.of_file(path)) == EMPTY
    assert str(Digest.of(b"abc")) == (
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


@QUICK
@given(st.binary(min_size=32, max_size=32))
def test_reading_what_was_written_gives_the_same_digest(raw: bytes) -> None:
    digest = Digest.from_hex(raw.hex())
    assert Digest.parse(str(digest)) == digest
    assert pickle.loads(pickle.dumps(digest)) == digest  # noqa: S301 - ours
    assert digest.hex == raw.hex()
    assert digest.short == raw.hex()[:12]


@pytest.mark.parametrize("text", NOT_DIGESTS.values(), ids=NOT_DIGESTS.keys())
def test_what_breaks_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="expected a digest like sha256:"):
        Digest.parse(text)


@QUICK
@given(st.text())
def test_no_text_makes_a_digest_that_is_not_its_own_spelling(text: str) -> None:
    try:
        assert str(Digest.parse(text)) == text
    except FormatError:
        assert (
            len(text) != 71 or not text.startswith("sha256:") or text[7:].strip("0123456789abcdef")
        )


@pytest.mark.parametrize(
    "size", [1, READ_BYTES - 1, READ_BYTES, READ_BYTES + 1, 3 * READ_BYTES + 7]
)
def test_a_file_is_hashed_in_blocks_as_a_whole(tmp_path: Path, size: int) -> None:
    data = bytes(i * 7 % 251 for i in range(1000)) * (size // 1000 + 1)
    path = tmp_path / "file"
    path.write_bytes(data[:size])
    assert Digest.of_file(path).hex == hashlib.sha256(data[:size]).hexdigest()
    assert b"".join(bytes(block) for block in read_blocks(path)) == data[:size]


def test_a_tagged_digest_is_the_published_definition() -> None:
    stated = hashlib.sha256(
        b"lopd.test.v1\n" + b"\x03" + bytes(7) + b"abc" + bytes(8) + b"\x01" + bytes(7) + b"d"
    )
    assert tagged("lopd.test.v1", b"abc", b"", b"d").hex == stated.hexdigest()


@QUICK
@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_different_parts_never_share_a_tagged_digest(one: list[bytes], other: list[bytes]) -> None:
    assert (tagged("t", *one) == tagged("t", *other)) == (one == other)


def test_the_tag_is_bound() -> None:
    assert tagged("lopd.a.v1", b"x") != tagged("lopd.b.v1", b"x")
