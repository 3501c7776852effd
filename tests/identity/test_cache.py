import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lopd_store.identity import safetensors
from lopd_store.identity.model import fingerprint

SETTLED = 0.05  # seconds; longer than the tick within which a file is too fresh to remember


@pytest.fixture
def model(qwen: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(qwen, folder)
    time.sleep(SETTLED)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> int:
        raise AssertionError("weights were read")

    monkeypatch.setattr(os, "preadv", refuse)
    monkeypatch.setattr(safetensors, "read_header", refuse)


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    seen: list[int] = []
    real = os.preadv

    def counted(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        seen.append(real(descriptor, buffers, offset))
        return seen[-1]

    monkeypatch.setattr(os, "preadv", counted)
    return seen


def test_a_warm_run_reads_no_weights_and_gives_the_same_answer(
    model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cold = fingerprint(str(model), cache=cache)
    assert cold == fingerprint(str(model), cache=None)
    forbid_reading(monkeypatch)
    assert fingerprint(str(model), cache=cache) == cold


@pytest.mark.parametrize("how", ["rewritten", "touched", "replaced-with-old-times"])
def test_a_changed_file_is_read_again(
    how: str, model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(str(model), cache=cache)
    path = model / "model.safetensors"
    stat = path.stat()
    data = bytearray(path.read_bytes())
    if how != "touched":
        data[-1] ^= 1
    path.write_bytes(data)
    if how == "replaced-with-old-times":
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    seen = count_reads(monkeypatch)
    after = fingerprint(str(model), cache=cache)
    assert sum(seen) >= len(data)
    assert (after.model == before.model) == (how == "touched")


def test_a_file_younger_than_a_clock_tick_is_not_remembered(
    model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(model / "model.safetensors", (time.time() + 60, time.time() + 60))
    fingerprint(str(model), cache=cache)
    seen = count_reads(monkeypatch)
    fingerprint(str(model), cache=cache)
    assert seen


def flip_digest(text: str) -> str:
    document = json.loads(text)
    digest = document["record"]["digest"]
    document["record"]["digest"] = digest[:-1] + ("0" if digest[-1] != "0" else "1")
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


DAMAGE: dict[str, Callable[[str], str]] = {
    "truncated": lambda text: text[: len(text) // 2],
    "empty": lambda _text: "",
    "not-json": lambda text: text + "x",
    "one-digit-changed": lambda text: text.replace("sha256:", "sha256:0", 1),
    "digest-flipped": flip_digest,
    "other-shape": lambda _text: "[]",
    "old-layout": lambda _text: '{"digest":"x"}',
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_is_ignored(damage: str, model: Path, cache: Path) -> None:
    before = fingerprint(str(model), cache=cache)
    (record,) = cache.iterdir()
    record.write_text(DAMAGE[damage](record.read_text()))
    assert fingerprint(str(model), cache=cache) == before


def test_rehash_reads_every_byte_whatever_is_remembered(
    model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fingerprint(str(model), cache=cache)
    seen = count_reads(monkeypatch)
    fingerprint(str(model), cache=cache, rehash=True)
    assert sum(seen) >= (model / "model.safetensors").stat().st_size


def test_a_cache_that_cannot_be_written_costs_a_read_and_no_more(model: Path, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    assert fingerprint(str(model), cache=cache) == fingerprint(str(model), cache=None)


def test_writing_a_record_leaves_no_temporary_file(model: Path, cache: Path) -> None:
    fingerprint(str(model), cache=cache)
    assert [path.suffix for path in cache.iterdir()] == [".json"]
