"""A journal gives back what it was given, whatever stopped its writer, and finds damage."""

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lopd_store.digest import Digest
from lopd_store.errors import FormatError, IntegrityError, StoreError
from lopd_store.serving.readthrough.journal import Journal, read_segment
from lopd_store.serving.readthrough.journal_format import (
    HEADER_BYTES,
    Record,
    encode_header,
    encode_record,
)
from tests.serving.journals import Plain, plain, read_by_the_page, record_of, records

WHO = Digest.of(b"identity")
ONE = record_of(1, [5, 6, 7], [-0.5, -1.25])
TWO = record_of(2, [5, 6, 7, 8], [-3.0, 0.0])
GROUPS = st.lists(records(), min_size=1, max_size=6)


def read_all(path: Path) -> list[Plain]:
    return [plain(record) for record in read_segment(path)[1]]


def bytes_of(group: list[Record]) -> bytes:
    return encode_header(WHO) + b"".join(map(encode_record, group))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("segments")


@given(group=GROUPS)
def test_a_segment_reads_as_it_was_written_by_us_and_by_its_description(
    scratch: Path, group: list[Record]
) -> None:
    path = scratch / "whole"
    path.write_bytes(bytes_of(group))
    assert read_segment(path)[0] == WHO
    assert read_all(path) == [plain(record) for record in group]
    assert read_by_the_page(path) == (WHO.hex, [plain(record) for record in group])


@given(group=GROUPS, cut=st.integers(0))
def test_any_prefix_gives_exactly_the_records_that_are_whole_in_it(
    scratch: Path, group: list[Record], cut: int
) -> None:
    whole = bytes_of(group)
    size = HEADER_BYTES + cut % (len(whole) - HEADER_BYTES + 1)
    ends = np.cumsum([len(encode_record(record)) for record in group]) + HEADER_BYTES
    path = scratch / "prefix"
    path.write_bytes(whole[:size])
    assert read_all(path) == [plain(record) for record in group[: int((ends <= size).sum())]]


@given(group=GROUPS, zeros=st.integers(1, 5000))
def test_zeros_after_the_last_record_are_cut_off(
    scratch: Path, group: list[Record], zeros: int
) -> None:
    path = scratch / "zeros"
    path.write_bytes(bytes_of(group) + bytes(zeros))
    assert read_all(path) == [plain(record) for record in group]


@settings(max_examples=300)
@given(group=GROUPS, place=st.integers(0), flip=st.integers(1, 255))
def test_a_changed_byte_is_found_and_what_is_before_it_is_given(
    scratch: Path, group: list[Record], place: int, flip: int
) -> None:
    data = bytearray(bytes_of(group))
    place %= len(data)
    data[place] ^= flip
    path = scratch / "flipped"
    path.write_bytes(data)
    found: list[Plain] = []
    with pytest.raises(IntegrityError, match="damaged-journal"):
        found += (plain(record) for record in read_segment(path)[1])
    ends = np.cumsum([len(encode_record(record)) for record in group]) + HEADER_BYTES
    assert found == [plain(record) for record in group[: int((ends <= place).sum())]]


def test_damage_in_the_middle_is_named_by_its_place_and_nothing_is_removed(tmp_path: Path) -> None:
    data = bytearray(bytes_of([ONE, TWO, ONE]))
    place = HEADER_BYTES + len(encode_record(ONE))
    data[place + 20] ^= 1
    path = tmp_path / "segment-000000.journal"
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=f"segment-000000.journal byte {place}: .*checksum"):
        read_all(path)
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    "body",
    [b"", b"\1\0\0\0", bytes(8), bytes([1, 0, 0, 0, 9, 0, 0, 0]) + bytes(12)],
    ids=["empty", "half of the lengths", "no ids", "fewer ids than it says"],
)
def test_a_record_that_is_none_though_its_checksum_is_right_is_damage(
    tmp_path: Path, body: bytes
) -> None:
    numbers = struct.pack("<II", len(body), zlib.crc32(body))
    path = tmp_path / "segment"
    head = numbers + struct.pack("<I", zlib.crc32(numbers))
    path.write_bytes(encode_header(WHO) + head + body)
    with pytest.raises(IntegrityError, match="ids and log-probs"):
        read_all(path)


def test_a_segment_without_a_whole_header_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    path.write_bytes(encode_header(WHO)[:-1])
    with pytest.raises(IntegrityError, match="a header"):
        read_segment(path)


@pytest.mark.parametrize(
    ("prompt_length", "ids", "logprobs"),
    [
        (0, [1, 2], [-1.0, -1.0]),
        (2, [1, 2], []),
        (1, [1, 2], [-1.0, -1.0]),
        (1, [1, -2], [-1.0]),
        (1, [1, 2], [0.5]),
        (1, [1, 2], [float("nan")]),
        (1, [1, 2], [float("-inf")]),
    ],
    ids=["no prompt", "no response", "too many", "an id below 0", "above 0", "NaN", "-inf"],
)
def test_a_record_that_is_wrong_cannot_exist(
    prompt_length: int, ids: list[int], logprobs: list[float]
) -> None:
    with pytest.raises(FormatError):
        record_of(prompt_length, ids, logprobs)


def test_what_append_returned_from_is_read_after_rolling_and_reopening(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([ONE], identity=WHO)
    journal.append([TWO, ONE], identity=WHO)
    assert [path.name for path in journal.roll()] == ["segment-000000.journal"]
    again = Journal(tmp_path)
    again.append([TWO], identity=Digest.of(b"another"))
    first, second = again.roll()
    assert read_all(first) == [plain(ONE), plain(TWO), plain(ONE)]
    assert read_segment(second)[0] == Digest.of(b"another")
    again.drop([first])
    assert again.roll() == (second,)


def test_one_append_is_one_sync_of_the_segment_before_it_returns(tmp_path: Path) -> None:
    sizes: list[int] = []

    def sync(descriptor: int) -> None:
        os.fsync(descriptor)
        sizes.append(os.fstat(descriptor).st_size)

    journal = Journal(tmp_path, sync=sync)
    journal.append([ONE], identity=WHO)
    sizes.clear()
    journal.append([ONE, TWO, ONE], identity=WHO)
    assert sizes == [len(bytes_of([ONE, ONE, TWO, ONE]))]


def refusing_at(calls: set[int]) -> Callable[[int], None]:
    """A sync that fails on some of its calls."""
    numbers: Iterator[int] = iter(range(1_000_000))

    def sync(descriptor: int) -> None:
        if next(numbers) in calls:
            raise OSError(28, os.strerror(28))
        os.fsync(descriptor)

    return sync


@pytest.mark.parametrize("call", range(6))
def test_a_disk_that_refuses_once_costs_the_group_at_hand_and_nothing_else(
    tmp_path: Path, call: int
) -> None:
    journal = Journal(tmp_path, sync=refusing_at({call}))
    kept: list[Plain] = []
    for group in ([ONE], [TWO, ONE], [TWO], [ONE, ONE]):
        with suppress(StoreError):
            journal.append(group, identity=WHO)
            kept += map(plain, group)
    found = [record for path in journal.roll() for record in read_all(path)]
    assert found == kept
    assert 3 <= len(kept) <= 6


def test_a_full_disk_leaves_no_heap_of_empty_segments(tmp_path: Path) -> None:
    journal = Journal(tmp_path, sync=refusing_at(set(range(2, 1000))))
    for _ in range(5):
        with pytest.raises(StoreError, match="free some space"):
            journal.append([ONE], identity=WHO)
    assert journal.roll() == ()


LIMITED = """
import resource, sys
from pathlib import Path
from lopd_store.digest import Digest
from lopd_store.errors import StoreError
from lopd_store.serving.readthrough.journal import Journal
from tests.serving.journals import record_of
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
journal = Journal(Path(sys.argv[1]))
short, long = record_of(1, [1, 2], [-1.0]), record_of(1, list(range(200)), [-1.0] * 199)
for record in (short, long, short):
    try:
        journal.append([record], identity=Digest.of(b"identity"))
    except StoreError as error:
        assert "ulimit -f" in str(error)
        print("refused")
"""


def test_a_record_the_disk_takes_only_half_of_is_taken_back(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "refused\n"
    found = [read_by_the_page(path)[1] for path in Journal(tmp_path).roll()]
    assert found == [[(1, [1, 2], [-1.0])], [(1, [1, 2], [-1.0])]]


HOLDER = """
import sys
from pathlib import Path
from lopd_store.serving.readthrough.journal import Journal
with Journal(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_and_told_which_one_holds_the_journal(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(StoreError, match=f"held by process {holder.pid}"),
            Journal(tmp_path).lock(),
        ):
            pass
        holder.communicate("")
    with Journal(tmp_path).lock():
        pass
