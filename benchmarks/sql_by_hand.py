"""The questions of `sql_macros.py`: our macros, and DuckDB by hand, as fast as we know how.

`$a` and `$b` are the paths of two artifacts' shards; an answer is its columns, rows in the macro's
order.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

Paths: TypeAlias = list[str]
Answer: TypeAlias = Sequence[Any]

MACROS: Final[Mapping[str, str]] = {
    "per_prompt": "from per_prompt()",
    "disagreements": "select sample_id, position, token_id, advantage from disagreements(n := 100)",
    "histogram of log-probs": "from histogram('teacher_logprob', 0.25)",
    "histogram of advantage": "from histogram('advantage', 0.25)",
    "position_profile": "from position_profile()",
    "lengths": "from lengths()",
    "compare": "from compare('a', 'b')",
}

DUCKDB: Final[Mapping[str, str]] = {
    "per_prompt": """
        select prompt_id, count(*), sum(len(teacher_logprobs)) as n,
               sum(list_sum(teacher_logprobs)) / n as t, exp(-t),
               sum(list_sum(rollout_logprobs)) / n as r, exp(-r)
        from read_parquet($a) group by prompt_id order by prompt_id""",
    "disagreements": """
        select sample_id, position, token_id, teacher::double - rollout as advantage
        from (select sample_id, unnest(range(len(response_ids))) as position,
                     unnest(response_ids) as token_id, unnest(teacher_logprobs) as teacher,
                     unnest(rollout_logprobs) as rollout
              from read_parquet($a))
        order by abs(advantage) desc limit 100""",
    "histogram of log-probs": """
        select bin * 0.25::double, (bin + 1) * 0.25::double, n, n / sum(n) over ()
        from (select floor(x::double / 0.25::double) as bin, count(*) as n
              from (select unnest(teacher_logprobs) as x from read_parquet($a)) group by bin)
        order by 1""",
    "histogram of advantage": """
        select bin * 0.25::double, (bin + 1) * 0.25::double, n, n / sum(n) over ()
        from (select floor((x::double - y) / 0.25::double) as bin, count(*) as n
              from (select unnest(teacher_logprobs) as x, unnest(rollout_logprobs) as y
                    from read_parquet($a)) group by bin)
        order by 1""",
    "position_profile": """
        select position, count(*), avg(x), avg(y), avg(x::double - y), avg(abs(x::double - y))
        from (select unnest(range(len(teacher_logprobs))) as position,
                     unnest(teacher_logprobs) as x, unnest(rollout_logprobs) as y
              from read_parquet($a))
        group by position order by position""",
    "lengths": """
        select coalesce(finish_reason, 'all'), count(*) as c, c / max(c) over (), sum(n),
               avg(n), min(n), quantile_cont(n, 0.5), quantile_cont(n, 0.9), max(n)
        from (select finish_reason, len(response_ids) as n from read_parquet($a))
        group by rollup (finish_reason) order by grouping(finish_reason), 2 desc""",
    "compare": """
        with deltas as (
            select sample_id, x::double - y as delta
            from (select sample_id, unnest(a.teacher_logprobs) as x, unnest(b.teacher_logprobs) as y
                  from read_parquet($a) a join read_parquet($b) b using (sample_id))
        ), samples as materialized (
            select count(*) as n, sum(abs(delta)) as total, sum(delta) as sum,
                   max(abs(delta)) as max, sum(delta * delta) as squares,
                   count(*) filter (abs(delta) > 1) as over_one,
                   count(*) filter (delta != 0) as differing, count(delta) as there
            from deltas group by sample_id
        )
        select count(*), sum(n), sum(differing), sum(sum) / sum(n),
               sqrt(sum(squares) / sum(n) - (sum(sum) / sum(n)) ** 2), sum(total) / sum(n),
               max(max), sum(over_one) / sum(n), avg(total ** 2),
               count(*) filter (there < n or not isfinite(total))
        from samples""",
}
