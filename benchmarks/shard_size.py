"""How many bytes does a token take in a shard, and what would plain Parquet take?

Real log-probs are needed: sizes on random noise mislead. Without `--signal` a small next-token
model is trained on the Python standard library's source and scores text it has not seen (`text`:
its natural output), then samples from its distribution sharpened until 59 % of the tokens have
p > .99 (`sharp`: the shape of a reasoning model's own output).

    python benchmarks/shard_size.py [--signal FILE.parquet] [--tokens 150000]
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import figures
from benchmarks.list_column import list_column
from benchmarks.small_model import Scored, output
from lopd_store.rows import columns, flat, sample_id
from lopd_store.rows.precision import Precision
from lopd_store.shards.writer import write_shards

ROUNDED: Final = Precision.parse("2^-12")
PROMPT: Final = 64  # tokens of a row that count as its prompt
ROW: Final = 576  # tokens of a row: prompt and response
Sizes = dict[str, float]


def main() -> None:
    """Measure the rows given or made here, show a table for each kind."""
    parser = figures.parser(__doc__)
    parser.add_argument("--signal", type=Path, help="a Parquet file with real log-probs")
    parser.add_argument("--tokens", type=int, default=150_000, help="tokens to score without it")
    arguments = parser.parse_args()
    given = arguments.signal
    data = {given.stem: columns.conform(pq.read_table(given), "signal")} if given else {}
    data |= {} if given else {name: rows(scored) for name, scored in output(arguments.tokens)}
    results = {name: measured(table) for name, table in data.items()}
    table = "\n\n".join(markdown(name, result) for name, result in results.items())
    figures.show("shard_size", table, results, arguments, libraries=("pyarrow",))


def rows(scored: Scored) -> pa.Table:
    """Rows of `ROW` tokens, of which the first `PROMPT` are the prompt."""
    count = len(scored.ids) // ROW
    ids = scored.ids[: count * ROW].reshape(count, ROW)
    logprobs = scored.logprobs[: count * ROW].reshape(count, ROW)[:, PROMPT:]
    prompt = list_column(ids[:, :PROMPT], PROMPT)
    response = list_column(ids[:, PROMPT:], ROW - PROMPT)
    return pa.table(
        {
            "sample_id": sample_id.sample_ids(prompt, response),
            "prompt_id": sample_id.prompt_ids_digests(prompt),
            "prompt_ids": prompt,
            "response_ids": response,
            "teacher_logprobs": list_column(logprobs, ROW - PROMPT),
            "finish_reason": pa.array(["length"] * count),
        }
    )


def measured(table: pa.Table) -> dict[str, Any]:
    """Bytes a token of each column, ours and others', and what rounding does."""
    logprobs = np.concatenate(
        [flat.lists(chunk).values for chunk in table["teacher_logprobs"].chunks]
    )
    kept = ROUNDED.round(logprobs)
    chunks = [ROUNDED.round_lists(chunk) for chunk in table["teacher_logprobs"].chunks]
    place = table.schema.get_field_index("teacher_logprobs")
    rounded = table.set_column(place, "teacher_logprobs", pa.chunked_array(chunks))
    with tempfile.TemporaryDirectory() as folder:
        sizes = {
            "lopd exact": ours(table, Path(folder)),
            "lopd 2^-12": ours(rounded, Path(folder)),
            "pyarrow default": plain(table, Path(folder)),
            "pyarrow default, 2^-12": plain(rounded, Path(folder)),
        }
    return {
        "tokens": len(logprobs),
        "share of tokens with p > .99": float((logprobs > np.log(0.99)).mean()),
        "order-0 entropy of 2^-12, bytes": entropy(kept),
        "largest error of 2^-12, nats": float(np.abs(kept.astype(np.float64) - logprobs).max()),
        "stated largest error, nats": ROUNDED.max_error,
        "bytes a token": sizes,
    }


def ours(table: pa.Table, folder: Path) -> Sizes:
    """Bytes a token of each column in shards of ours."""
    batches: Iterator[pa.RecordBatch] = iter(table.to_batches())
    shards = list(write_shards(batches, identity=b"{}", folder=folder))
    return total([shard.path for shard in shards])


def plain(table: pa.Table, folder: Path) -> Sizes:
    """Bytes a token of each column as `pyarrow.parquet.write_table` writes it unasked."""
    path = folder / "plain.parquet"
    pq.write_table(table, path)
    return total([path])


def total(paths: list[Path]) -> Sizes:
    """Bytes of each column by its own items (rows for text), and of the files by response token."""
    stored: dict[str, list[int]] = {}
    for path in paths:
        footer = pq.read_metadata(path)
        for group in range(footer.num_row_groups):
            for index in range(footer.num_columns):
                chunk = footer.row_group(group).column(index)
                sums = stored.setdefault(chunk.path_in_schema.partition(".")[0], [0, 0])
                sums[0] += chunk.total_compressed_size
                sums[1] += chunk.num_values
    sizes = {name: size / items for name, (size, items) in stored.items()}
    files = sum(path.stat().st_size for path in paths)
    return sizes | {"whole file": files / stored["response_ids"][1]}


def entropy(values: npt.NDArray[np.float32]) -> float:
    """Order-0 entropy in bytes: what a perfect coder without context would take."""
    _, counts = np.unique(values, return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum() / 8)


def markdown(name: str, result: dict[str, Any]) -> str:
    """One table: columns down, writers across."""
    sizes: dict[str, Sizes] = result["bytes a token"]
    facts = ", ".join(f"{k} {v:.4g}" for k, v in result.items() if isinstance(v, float))
    lines = [f"## `{name}`: {result['tokens']} response tokens", "", facts, ""]
    lines += [f"| bytes per item | {' | '.join(sizes)} |", "|---|" + "---:|" * len(sizes)]
    for column in sizes["lopd exact"]:
        lines.append(
            f"| {column} | " + " | ".join(f"{s[column]:.3f}" for s in sizes.values()) + " |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
