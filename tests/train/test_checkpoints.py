import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lopd_store.canonical import encode
from lopd_store.errors import (
    FormatError,
    IntegrityError,
    LopdError,
    NotFoundError,
    StoreError,
    UsageError,
)
from lopd_store.store.durable import no_sync
from lopd_train.checkpoints import Checkpoints, load_state, save_state, step_of
from lopd_train.listing import check

SAVER = Path(__file__).with_name("saver.py")


def two_files(folder: Path) -> None:
    (folder / "state.pt").write_bytes(b"state")
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_bytes(b"{}")


def state_at(step: int) -> Callable[[Path], None]:
    return lambda folder: save_state(folder / "state.pt", {"step": step, "w": torch.ones(step)})


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", sync=no_sync)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine does not permit `mount {' '.join(words)}`: {done.stderr}")


def leave_free(folder: Path, count: int) -> Path:
    """Fill the disk but for `count` bytes."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while shutil.disk_usage(folder).free > count:
            file.write(bytes(4096))
    return ballast


def test_a_state_comes_back_bit_for_bit_with_its_types(checkpoints: Checkpoints) -> None:
    state = {
        "weights": {"a": torch.randn(3, 5), "b": torch.randn(4).bfloat16()},
        "optimiser": {"state": {0: {"step": torch.tensor(3.0)}}, "betas": (0.9, 0.98)},
        "random": torch.get_rng_state(),
        "step": 7,
        "note": None,
    }
    path = checkpoints.save(7, lambda folder: save_state(folder / "state.pt", state))
    found = load_state(path / "state.pt")
    assert torch.equal(found["weights"]["a"], state["weights"]["a"])
    assert found["weights"]["b"].dtype == torch.bfloat16
    assert torch.equal(found["random"], state["random"])
    assert found["optimiser"]["betas"] == (0.9, 0.98)
    assert (found["step"], found["note"]) == (7, None)


def test_the_listing_names_every_file_with_size_and_sha256(checkpoints: Checkpoints) -> None:
    path = checkpoints.save(50, two_files)
    assert path.name == "step-00000050"
    assert json.loads((path / "checkpoint.json").read_text()) == {
        "version": 1,
        "step": 50,
        "files": {
            "model/config.json": {"size": 2, "digest": f"sha256:{sha256(b'{}').hexdigest()}"},
            "state.pt": {"size": 5, "digest": f"sha256:{sha256(b'state').hexdigest()}"},
        },
    }


def test_the_newest_stay_and_the_latest_is_that_of_the_highest_step(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "new", keep=3, sync=no_sync)
    assert checkpoints.latest() is None
    for step in (9, 10, 99, 100, 123_456_789):
        assert checkpoints.latest() != checkpoints.save(step, two_files)
    assert [step_of(path) for path in checkpoints.all()] == [99, 100, 123_456_789]
    assert checkpoints.latest() == checkpoints.folder / "step-123456789"
    assert sorted(checkpoints.folder.iterdir()) == checkpoints.all()


def test_what_is_no_checkpoint_is_left_alone(checkpoints: Checkpoints) -> None:
    checkpoints.folder.mkdir()
    for name in ("step-3", "step-00000009.old", "notes"):
        (checkpoints.folder / name).mkdir()
    for step in (1, 2, 3):
        checkpoints.save(step, two_files)
    assert len(list(checkpoints.folder.iterdir())) == 3 + 2
    assert [step_of(path) for path in checkpoints.all()] == [2, 3]


@pytest.mark.parametrize("step", [5, 4])
def test_a_step_that_is_not_later_is_refused_and_nothing_is_written(
    checkpoints: Checkpoints, step: int
) -> None:
    path = checkpoints.save(5, two_files)
    with pytest.raises(UsageError, match=r"found step-00000005: resume from it"):
        checkpoints.save(step, state_at(1))
    assert checkpoints.all() == [path]
    check(path)


def test_keeping_no_checkpoint_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 1 checkpoint, found 0"):
        Checkpoints(tmp_path, keep=0)


def test_a_writer_that_fails_leaves_nothing_and_its_error_is_its_own(
    checkpoints: Checkpoints,
) -> None:
    before = checkpoints.save(1, two_files)

    def fail(folder: Path) -> None:
        two_files(folder)
        raise KeyError("its own")

    with pytest.raises(KeyError, match="its own"):
        checkpoints.save(2, fail)
    assert list(checkpoints.folder.iterdir()) == [before]
    check(before)


def test_every_byte_is_on_the_disk_before_a_checkpoint_has_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    synced: list[tuple[str, bool]] = []

    def sync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(tmp_path)
        name = "/".join("NEW" if p.startswith(".unfinished") else p for p in path.parts)
        synced.append((name, (folder / "step-00000001").exists()))

    Checkpoints(folder, sync=sync).save(1, two_files)
    before = {name for name, named in synced if not named}
    new = "checkpoints/NEW"
    inside = {"checkpoint.json", "state.pt", "model/config.json", "model"}
    assert before == {"", new} | {f"{new}/{name}" for name in inside}
    assert [name for name, named in synced if named] == ["checkpoints"]


def test_killed_at_any_disk_operation_no_half_checkpoint_is_taken_and_none_is_lost(
    tmp_path: Path,
) -> None:
    said = subprocess.run(
        [sys.executable, str(SAVER), str(tmp_path)], capture_output=True, text=True, check=True
    )
    report = json.loads(said.stdout)
    assert report["wrong"] == []
    assert report["kills"] >= 15
    assert 0 < report["new"] < report["kills"]


def write_safetensors(folder: Path) -> None:
    save_file({"w": torch.zeros(100_000)}, folder / "model.safetensors")


def write_torch(folder: Path) -> None:
    save_state(folder / "state.pt", {"w": torch.zeros(100_000)})


def write_bytes(folder: Path) -> None:
    (folder / "state.pt").write_bytes(bytes(400_000))


@pytest.mark.parametrize("write", [write_safetensors, write_torch, write_bytes])
def test_a_disk_that_fills_up_leaves_the_old_checkpoint_and_takes_the_next(
    disk: Path, write: Callable[[Path], None]
) -> None:
    checkpoints = Checkpoints(disk / "checkpoints", keep=1)
    old = checkpoints.save(1, state_at(1))
    failures = 0
    for free in (*range(0, 40_000, 8192), *range(100_000, 500_000, 65_536)):
        ballast = leave_free(disk, free)
        try:
            checkpoints.save(2, write)
        except StoreError as error:
            failures += 1
            assert "step-00000002: No space left on device: free some space" in str(error)  # noqa: PT017 - each failure is looked at
        else:
            break
        finally:
            ballast.unlink()
        assert checkpoints.latest() == old
        assert list(checkpoints.folder.iterdir()) == [old]
        assert load_state(old / "state.pt")["step"] == 1
    assert failures > 5
    assert [step_of(path) for path in checkpoints.all()] == [2]
    check(checkpoints.folder / "step-00000002")


def test_a_read_only_disk_refuses_a_checkpoint_and_keeps_the_old_one(disk: Path) -> None:
    checkpoints = Checkpoints(disk / "checkpoints")
    old = checkpoints.save(1, state_at(1))
    mount("-o", "remount,ro", str(disk))
    with pytest.raises(StoreError, match="Read-only file system"):
        checkpoints.save(2, state_at(2))
    assert checkpoints.all() == [old]
    check(old)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "kind"), [(flip, "digest-mismatch"), (cut, "size"), (Path.unlink, "missing")]
)
def test_a_damaged_file_is_refused_by_its_name(
    checkpoints: Checkpoints, damage: Callable[[Path], Any], kind: str
) -> None:
    path = checkpoints.save(1, state_at(3))
    damage(path / "state.pt")
    for use in (lambda: check(path), lambda: load_state(path / "state.pt")):
        with pytest.raises(
            IntegrityError, match="remove it to go on from the checkpoint before"
        ) as caught:
            use()
        assert [(p.kind, p.where) for p in caught.value.problems] == [(kind, "state.pt")]


def test_every_damaged_file_is_listed(checkpoints: Checkpoints) -> None:
    path = checkpoints.save(1, two_files)
    cut(path / "state.pt")
    flip(path / "model" / "config.json")
    with pytest.raises(IntegrityError) as caught:
        check(path)
    assert [p.where for p in caught.value.problems] == ["model/config.json", "state.pt"]


GOOD = {"size": 1, "digest": "sha256:" + "0" * 64}


@pytest.mark.parametrize(
    "listing",
    [
        b"",
        b"{",
        b"[]",
        encode({"step": 1, "files": {}}),
        encode({"version": 2, "step": 1, "files": {}}),
        encode({"version": 1, "step": 1, "files": []}),
        encode({"version": 1, "step": 1, "files": {"a": 1}}),
        encode({"version": 1, "step": 1, "files": {"a": GOOD | {"size": "x"}}}),
        encode({"version": 1, "step": 1, "files": {"a": GOOD | {"digest": "md5:0"}}}),
        encode({"version": 1, "step": 1, "files": {"../a": GOOD}}),
        encode({"version": 1, "step": 1, "files": {"/etc/passwd": GOOD}}),
        encode({"version": 1, "step": 1, "files": {"": GOOD}}),
    ],
)
def test_a_listing_that_is_none_is_refused(checkpoints: Checkpoints, listing: bytes) -> None:
    path = checkpoints.save(1, two_files)
    (path / "checkpoint.json").write_bytes(listing)
    with pytest.raises(FormatError, match="expected"):
        check(path)


def test_what_is_not_there_is_not_found(checkpoints: Checkpoints, tmp_path: Path) -> None:
    path = checkpoints.save(1, two_files)
    with pytest.raises(NotFoundError, match=r"expected a file other\.pt, found none"):
        load_state(path / "other.pt")
    with pytest.raises(NotFoundError, match="expected a checkpoint"):
        check(tmp_path / "step-00000001")
    with pytest.raises(UsageError, match="expected a checkpoint like step-00000050"):
        step_of(tmp_path)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("evil-was-here"),)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a state",
        pickle.dumps(Evil(), protocol=2),
        pickle.dumps({"w": 1}, protocol=2)[:-3],
    ],
    ids=["empty", "text", "code", "cut"],
)
def test_a_state_that_nobody_saved_is_refused_and_runs_no_code(
    checkpoints: Checkpoints, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def write(folder: Path) -> None:
        (folder / "state.pt").write_bytes(data)

    path = checkpoints.save(1, write)
    check(path)
    with pytest.raises(FormatError, match="expected tensors that torch can load"):
        load_state(path / "state.pt")
    assert not (tmp_path / "evil-was-here").exists()


def test_every_refusal_has_an_exit_code_of_the_one_error_tree(checkpoints: Checkpoints) -> None:
    path = checkpoints.save(1, two_files)
    cut(path / "state.pt")
    with pytest.raises(LopdError) as caught:
        check(path)
    assert caught.value.exit_code == 3
