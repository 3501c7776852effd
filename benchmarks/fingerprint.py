"""Is naming a model as fast as hashing it? weights_digest against plain SHA-256, per core used.

    python benchmarks/fingerprint.py [--gib 1]

Side by side in one run, over the same bytes of one checkpoint in the page cache:

- `sha256 of 1 MiB in cache`: over and over the same bytes, a bound no large file can reach;
- `sha256 in memory`: one `hashlib.sha256` over the bytes of the file already in memory;
- `sha256sum of the file`: `hashlib.file_digest`, what a user would run instead;
- `weights_digest`, on 1 thread and on 2, in one file and in four shards.

Columns `of sha256sum` and `of cache` compare the rate per core with those two. The rate per
core is bytes over process CPU time, so threads that spin count against it.
Rounds are interleaved and the best of each is kept: noise of other processes only slows.
"""

import hashlib
import json
import os
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import figures
from lopd_store.identity.weights import weights_digest

TENSOR_BYTES = 32 << 20  # about one projection of an 8B model
SHARDS = 4
ROUNDS = 5
COLUMNS = {
    "wall": "wall",
    "per_core": "per core",
    "of_sha256sum": "of sha256sum",
    "of_cache": "of cache",
}


def write_checkpoint(folder: Path, data: memoryview, *, shards: int) -> None:
    """Write `data` as bfloat16 tensors in `shards` safetensors files."""
    spans = [
        (start, min(start + TENSOR_BYTES, len(data))) for start in range(0, len(data), TENSOR_BYTES)
    ]
    weight_map: dict[str, str] = {}
    for number in range(shards):
        name = f"model-{number}.safetensors"
        header: dict[str, object] = {}
        body: list[memoryview] = []
        offset = 0
        for place in range(number, len(spans), shards):
            start, end = spans[place]
            entry = {"dtype": "BF16", "shape": [(end - start) // 2]}
            header[f"layers.{place}.weight"] = entry | {
                "data_offsets": [offset, offset + end - start]
            }
            weight_map[f"layers.{place}.weight"] = name
            body.append(data[start:end])
            offset += end - start
        text = json.dumps(header).encode()
        with (folder / name).open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.writelines(body)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def file_digest(folder: Path) -> None:
    """What `sha256sum` does."""
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")


def cached(data: memoryview) -> None:
    """SHA-256 over as many bytes as `data` has, all of them its first MiB."""
    state, first = hashlib.sha256(), data[: 1 << 20]
    for _ in range(len(data) // len(first)):
        state.update(first)


def measure(cases: dict[str, Callable[[], object]], size: int) -> dict[str, dict[str, float]]:
    """Best rates in GB/s of each case over interleaved rounds: by wall time and by CPU time."""
    best: dict[str, dict[str, float]] = {name: {"wall": 0.0, "per_core": 0.0} for name in cases}
    for _ in range(ROUNDS):
        for name, case in cases.items():
            wall, cpu = time.perf_counter(), time.process_time()
            case()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            rates = {"wall": size / wall / 1e9, "per_core": size / cpu / 1e9}
            best[name] = {key: max(best[name][key], rate) for key, rate in rates.items()}
    return best


def run(gib: float) -> figures.Json:
    """Make the checkpoints, warm the page cache, measure.

    Returns:
        Rates in `unit` by case, and each as a share of the two bounds.
    """
    size = int(gib * (1 << 30)) // 2 * 2
    data = memoryview(os.urandom(size))
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        one, many = Path(name) / "one", Path(name) / "many"
        for folder, shards in ((one, 1), (many, SHARDS)):
            folder.mkdir()
            write_checkpoint(folder, data, shards=shards)
        if weights_digest(one) != weights_digest(many):
            raise SystemExit("the digest depends on sharding")
        cases: dict[str, Callable[[], object]] = {
            "sha256 of 1 MiB in cache": lambda: cached(data),
            "sha256 in memory": lambda: hashlib.sha256(data).digest(),
            "sha256sum of the file": lambda: file_digest(one),
            "weights_digest, 1 thread": lambda: weights_digest(one, threads=1),
            "weights_digest, 2 threads": lambda: weights_digest(one, threads=2),
            "weights_digest, 2 threads, 4 shards": lambda: weights_digest(many, threads=2),
        }
        rates = measure(cases, size)
    for bound, name in (
        ("of_sha256sum", "sha256sum of the file"),
        ("of_cache", "sha256 of 1 MiB in cache"),
    ):
        reference = rates[name]["per_core"]
        for rate in rates.values():
            rate[bound] = rate["per_core"] / reference
    return {"gib": gib, "rounds": ROUNDS, "unit": "GB/s", "rates": rates}


def table(found: figures.Json) -> str:
    """The figures as a Markdown table and a line below it."""
    lines = [f"| {found['unit']} | {' | '.join(COLUMNS.values())} |", "|---|---:|---:|---:|---:|"]
    for name, rate in found["rates"].items():
        lines.append(f"| {name} | {' | '.join(f'{rate[column]:.2f}' for column in COLUMNS)} |")
    return "\n".join(lines) + f"\n\n{found['gib']} GiB, best of {found['rounds']} rounds."


def main() -> None:
    """Make a checkpoint, name and hash it again and again, show the table."""
    parser = figures.parser(__doc__)
    parser.add_argument("--gib", type=float, default=1.0, help="size of the checkpoint")
    arguments = parser.parse_args()
    found = run(arguments.gib)
    figures.show("fingerprint", table(found), found, arguments)


if __name__ == "__main__":
    main()
