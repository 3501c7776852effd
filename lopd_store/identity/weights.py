"""From weight files to their digests: one pass, on every core, remembered.

What the digest covers is in `tensors.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lopd_store.digest import Digest
from lopd_store.identity import safetensors, torch_checkpoint
from lopd_store.identity.cache import FileCache, Remembered
from lopd_store.identity.checkpoint import WeightFiles, check_names, find_weights
from lopd_store.identity.hashing import FileRequest, Progress, Range, hash_files
from lopd_store.identity.hub_cache import claimed_digest
from lopd_store.identity.tensors import TensorDigest, Weights, weigh
from lopd_store.remembered import FileState


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsReading:
    """What reading a checkpoint found.

    Attributes:
        weights: all its tensors.
        files: file name to digest of its bytes; empty where they were not asked for.
    """

    weights: Weights
    files: Mapping[str, Digest]


def weights_digest(folder: Path, *, threads: int | None = None) -> Digest:
    """The weights_digest of the checkpoint in `folder`, read now, by `threads` threads.

    Raises:
        NotFoundError: no weights there.
        FormatError: weights that break their format.
    """
    files = find_weights(folder)
    return read_weights(files, whole_files=False, threads=threads).weights.digest


def read_weights(
    files: WeightFiles,
    *,
    cache: FileCache | None = None,
    rehash: bool = False,
    whole_files: bool = True,
    threads: int | None = None,
    progress: Progress | None = None,
) -> WeightsReading:
    """Digest every tensor and, with `whole_files`, every file.

    Args:
        files: from `find_weights`.
        cache: what it remembers of unchanged files is not read again.
        rehash: read every byte: trust neither the cache nor the names of the Hub's cache.
        whole_files: also the SHA-256 of each file.
        threads: default, one for each usable core.
        progress: called with the bytes read.

    Raises:
        FormatError: a file that breaks its format, or an index that does not match.
    """
    known = {path: _known(path, cache=cache, rehash=rehash) for path in files.paths}
    wanted = [path for path in files.paths if _is_missing(known[path], whole_files=whole_files)]
    states = {path: FileState.of(path) for path in wanted}
    read = _read(wanted, known, whole_files=whole_files, threads=threads, progress=progress)
    for path, found in read.items():
        claimed = None if rehash else claimed_digest(path)
        known[path] = Remembered(digest=found.digest or claimed, tensors=found.tensors)
        if cache:
            cache.remember(path, states[path], found)
    tensors = {path: found.tensors or () for path, found in known.items()}
    check_names(files, {path: [item.name for item in items] for path, items in tensors.items()})
    return WeightsReading(
        weights=weigh([tensor for items in tensors.values() for tensor in items]),
        files={path.name: found.digest for path, found in known.items() if found.digest},
    )


def _known(path: Path, *, cache: FileCache | None, rehash: bool) -> Remembered:
    remembered = cache.recall(path) if cache and not rehash else None
    claimed = None if rehash else claimed_digest(path)
    return Remembered(
        digest=(remembered and remembered.digest) or claimed,
        tensors=remembered.tensors if remembered else None,
    )


def _is_missing(known: Remembered, *, whole_files: bool) -> bool:
    return known.tensors is None or (whole_files and known.digest is None)


def _read(
    paths: list[Path],
    known: Mapping[Path, Remembered],
    *,
    whole_files: bool,
    threads: int | None,
    progress: Progress | None,
) -> dict[Path, Remembered]:
    """What was measured now: a digest that is only known by name is not among it."""
    headers = {path: _header(path) for path in paths}
    requests = [
        FileRequest(
            path=path,
            ranges=tuple(Range(tensor.start, tensor.size) for tensor in headers[path]),
            whole=whole_files and known[path].digest is None,
        )
        for path in paths
    ]
    answers = hash_files(requests, threads=threads, progress=progress)
    return {
        path: Remembered(
            digest=answer.whole,
            tensors=_name(headers[path], answer.ranges)
            if path.suffix == ".safetensors"
            else torch_checkpoint.read_tensors(path),
        )
        for path, answer in zip(paths, answers, strict=True)
    }


def _header(path: Path) -> tuple[safetensors.TensorRange, ...]:
    return safetensors.read_header(path) if path.suffix == ".safetensors" else ()


def _name(
    header: tuple[safetensors.TensorRange, ...], digests: tuple[Digest, ...]
) -> tuple[TensorDigest, ...]:
    return tuple(
        TensorDigest(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape, digest=digest)
        for tensor, digest in zip(header, digests, strict=True)
    )
