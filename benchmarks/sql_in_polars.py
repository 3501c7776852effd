"""The questions of `sql_macros.py` in polars, lazily, so that it reads and fuses what it can."""

from collections.abc import Callable, Mapping
from typing import Final

import polars as pl

from benchmarks.sql_by_hand import Answer, Paths


def _per_prompt(a: Paths, b: Paths) -> Answer:
    lists = {"t": pl.col("teacher_logprobs").list, "r": pl.col("rollout_logprobs").list}
    sums = {
        name: each.eval(pl.element().cast(pl.Float64)).list.sum() for name, each in lists.items()
    }
    del b
    return (
        _scan(a)
        .select("prompt_id", n=lists["t"].len().cast(pl.Int64), **sums)
        .group_by("prompt_id")
        .agg(pl.len(), pl.col("n", "t", "r").sum())
        .with_columns(t=pl.col("t") / pl.col("n"), r=pl.col("r") / pl.col("n"))
        .sort("prompt_id")
        .select("prompt_id", "len", "n", "t", p=(-pl.col("t")).exp(), r="r", q=(-pl.col("r")).exp())
        .collect()
        .get_columns()
    )


def _disagreements(a: Paths, b: Paths) -> Answer:
    del b
    lists = ("position", "response_ids", "teacher_logprobs", "rollout_logprobs")
    advantage = pl.col("teacher_logprobs").cast(pl.Float64) - pl.col("rollout_logprobs")
    return (
        _scan(a)
        .with_columns(position=pl.int_ranges(pl.col("response_ids").list.len()))
        .select("sample_id", *lists)
        .explode(*lists)
        .select("sample_id", "position", "response_ids", advantage=advantage)
        .top_k(100, by=pl.col("advantage").abs())
        .collect()
        .get_columns()
    )


def _histogram(value: pl.Expr) -> Callable[[Paths, Paths], Answer]:
    def answer(a: Paths, b: Paths) -> Answer:
        del b
        bins = (
            _scan(a)
            .select(bin=(value / 0.25).floor())
            .group_by("bin")
            .agg(n=pl.len().cast(pl.Int64))
            .sort("bin")
        )
        ends = {"low": pl.col("bin") * 0.25, "high": (pl.col("bin") + 1) * 0.25}
        share = pl.col("n") / pl.col("n").sum()
        return bins.select(**ends, n="n", share=share).collect().get_columns()

    return answer


def _position_profile(a: Paths, b: Paths) -> Answer:
    del b
    lists = ("position", "x", "y")
    advantage = pl.col("x") - pl.col("y")
    return (
        _scan(a)
        .select(
            position=pl.int_ranges(pl.col("teacher_logprobs").list.len()),
            x="teacher_logprobs",
            y="rollout_logprobs",
        )
        .explode(*lists)
        .with_columns(pl.col("x", "y").cast(pl.Float64))
        .group_by("position")
        .agg(
            pl.len().cast(pl.Int64),
            pl.col("x", "y").mean(),
            advantage.mean().alias("d"),
            advantage.abs().mean().alias("e"),
        )
        .sort("position")
        .collect()
        .get_columns()
    )


def _lengths(a: Paths, b: Paths) -> Answer:
    del b
    rows = _scan(a).select("finish_reason", n=pl.col("response_ids").list.len().cast(pl.Int64))
    n, frame = pl.col("n"), rows.collect()
    measures = [
        pl.len().cast(pl.Int64).alias("samples"),
        (pl.len() / len(frame)).alias("share"),
        n.sum().alias("tokens"),
        n.mean().alias("mean"),
        n.min().alias("min"),
        n.quantile(0.5, "linear").alias("median"),
        n.quantile(0.9, "linear").alias("p90"),
        n.max().alias("max"),
    ]
    by_reason = frame.group_by("finish_reason").agg(measures).sort("samples", descending=True)
    everything = frame.select(pl.lit("all").alias("finish_reason"), *measures)
    return pl.concat([by_reason, everything]).get_columns()


def _compare(a: Paths, b: Paths) -> Answer:
    delta = pl.col("x").cast(pl.Float64) - pl.col("y")
    size = pl.col("delta").abs()
    samples = (
        _scan(a)
        .select("sample_id", x="teacher_logprobs")
        .join(_scan(b).select("sample_id", y="teacher_logprobs"), on="sample_id")
        .with_row_index("row")
        .explode("x", "y")
        .select("row", delta=delta)
        .group_by("row")
        .agg(
            n=pl.len(),
            total=size.sum(),
            sum=pl.col("delta").sum(),
            squares=(pl.col("delta") ** 2).sum(),
            max=size.max(),
            over_one=(size > 1).sum(),
            differing=(pl.col("delta") != 0).sum(),
            there=pl.col("delta").count(),
        )
    )
    n, mean = pl.col("n").sum(), pl.col("sum").sum() / pl.col("n").sum()
    measures = {
        "samples": pl.len(),
        "tokens": n,
        "differing": pl.col("differing").sum(),
        "mean": mean,
        "std": (pl.col("squares").sum() / n - mean**2).sqrt(),
        "mean_abs": pl.col("total").sum() / n,
        "max_abs": pl.col("max").max(),
        "over_one_nat": pl.col("over_one").sum() / n,
        "sigma_squared": (pl.col("total") ** 2).mean(),
        "broken": ((pl.col("there") < pl.col("n")) | ~pl.col("total").is_finite()).sum(),
    }
    return samples.select(**measures).collect().get_columns()


def _scan(paths: Paths) -> pl.LazyFrame:
    return pl.scan_parquet(paths, glob=False)


POLARS: Final[Mapping[str, Callable[[Paths, Paths], Answer]]] = {
    "per_prompt": _per_prompt,
    "disagreements": _disagreements,
    "histogram of log-probs": _histogram(pl.col("teacher_logprobs").explode().cast(pl.Float64)),
    "histogram of advantage": _histogram(
        pl.col("teacher_logprobs").explode().cast(pl.Float64) - pl.col("rollout_logprobs").explode()
    ),
    "position_profile": _position_profile,
    "lengths": _lengths,
    "compare": _compare,
}
