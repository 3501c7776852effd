# ruff: noqa: S608 - only names that were checked and words of ours become SQL
"""The SQL of the table macros, of our own words only.

Each is spelled as the fastest query known: lists are unnested side by side, and only when their
items are asked for; sums of a whole list are taken without. Sums are in float64.
"""

import itertools
from collections.abc import Mapping

from lopd_store.sql.views import Lists


def per_prompt(lists: Lists) -> str:
    """Counts and sums of lists by prompt, and what follows from them."""
    return f"""
    select prompt_id, samples, tokens,
           teacher / teachers as mean_teacher_logprob,
           exp(-mean_teacher_logprob) as teacher_perplexity,
           rollout / rollouts as mean_rollout_logprob,
           exp(-mean_rollout_logprob) as rollout_perplexity
    from ({_masked_sums(lists) if lists.mask else _sums(lists)})
    order by prompt_id"""


def _sums(lists: Lists) -> str:
    return f"""
    select prompt_id, count(*) as samples, sum(len({lists.any}))::bigint as tokens,
           sum(list_sum({lists.teacher})) as teacher, sum(len({lists.teacher})) as teachers,
           sum(list_sum({lists.rollout})) as rollout, sum(len({lists.rollout})) as rollouts
    from {lists.source} group by prompt_id"""


def _masked_sums(lists: Lists) -> str:
    tokens = unnested(lists, "prompt_id", x=lists.teacher, y=lists.rollout)
    return f"""
    from (select prompt_id, count(*) as samples from {lists.source} group by prompt_id)
    left join (
        select prompt_id, count(*) as tokens, sum(x::double) as teacher, count(x) as teachers,
               sum(y::double) as rollout, count(y) as rollouts
        from {tokens} group by prompt_id
    ) using (prompt_id)
    select prompt_id, samples, coalesce(tokens, 0) as tokens, teacher, teachers, rollout,
           rollouts"""


def disagreements(schema: str, lists: Lists) -> str:
    """A heap over all tokens; texts of the winners only."""
    tokens = unnested(
        lists,
        "sample_id, prompt_id",
        position=f"range(len({lists.any}))",
        id="response_ids",
        x=lists.teacher,
        y=lists.rollout,
    )
    order = "order by abs(advantage) desc, sample_id, position"
    return f"""
    select sample_id, prompt_id, position, id as token_id, {schema}.token_text(id) as token,
           x as teacher_logprob, y as rollout_logprob, advantage
    from (select *, x::double - y as advantage from {tokens}
          where advantage is not null {order} limit n)
    {order}"""


def histogram(lists: Lists) -> str:
    """Of the branches all but the one asked for are pruned, as `of` is a constant."""
    branches = {
        "teacher_logprob": f"select x::double as v from {unnested(lists, x=lists.teacher)}",
        "rollout_logprob": f"select x::double as v from {unnested(lists, x=lists.rollout)}",
        "advantage": "select x::double - y as v from "
        + unnested(lists, x=lists.teacher, y=lists.rollout),
    }
    known = ", ".join(f"'{name}'" for name in branches)
    union = " union all ".join(f"({body} where of = '{name}')" for name, body in branches.items())
    return f"""
    select bin * width::double as low, (bin + 1) * width::double as high, tokens,
           tokens / sum(tokens) over () as share
    from (select floor(v / {_width("double")}) as bin, count(*) as tokens
          from ({union} union all
                (select error('expected one of {known.replace("'", "''")}, found ' || of)::double
                 where of not in ({known})))
          where v is not null group by bin)
    order by bin"""


def position_profile(lists: Lists) -> str:
    """Means by position."""
    tokens = unnested(lists, position=f"range(len({lists.any}))", x=lists.teacher, y=lists.rollout)
    return f"""
    select position // {_width("bigint")} * {_width("bigint")} as position, count(*) as tokens,
           avg(x) as mean_teacher_logprob, avg(y) as mean_rollout_logprob,
           avg(x::double - y) as mean_advantage, avg(abs(x::double - y)) as mean_abs_advantage
    from {tokens} group by 1 order by 1"""


def lengths(lists: Lists) -> str:
    """By finish reason, and of all."""
    return f"""
    select coalesce(finish_reason, 'all') as finish_reason, count(*) as samples,
           samples / max(samples) over () as share, sum(n)::bigint as tokens,
           avg(n) as mean, min(n) as min, quantile_cont(n, 0.5) as median,
           quantile_cont(n, 0.9) as p90, max(n) as max
    from (select finish_reason, {lists.trained}::bigint as n from {lists.source})
    group by rollup (finish_reason) order by grouping(finish_reason), samples desc, 1"""


def compare(sets: Mapping[str, Lists]) -> str:
    """Of the pairs all but the one asked for are pruned, as the names are constants."""
    scored = [name for name, lists in sets.items() if lists.has_teacher]
    pairs = list(itertools.permutations(scored, 2)) or [(name, name) for name in scored]
    refusal = (
        f"error('expected the names of two sets with teacher_logprobs"
        f" ({', '.join(scored) or 'none has any'}), found ' || first || ', ' || second)"
    )
    if not pairs:
        return f"select {refusal} as samples"
    known = f"(first, second) in ({', '.join(map(str, pairs))})"
    checked = f"case when {known} then (first, second) else {refusal} end"
    branches = (
        f"(select * from ({_difference(sets[one], sets[two])}) where {checked} = {(one, two)})"
        for one, two in pairs
    )
    return " union all ".join(branches)


def _difference(a: Lists, b: Lists) -> str:
    """One pass over the tokens, a row a sample, then over the samples.

    Squares are of deltas less one that is near: those of a large mean would swallow a small spread.
    """
    masks = {side: f"{side}.{lists.mask}" for side, lists in (("a", a), ("b", b)) if lists.mask}
    unnested_masks = "".join(f", unnest({mask}) as mask_{side}" for side, mask in masks.items())
    trained = " and ".join(f"mask_{side} is not false" for side in masks) or "true"
    starts = (
        f"(select ({lists.teacher})[1] as {name} from {lists.source} limit 1)"
        for name, lists in (("x", a), ("y", b))
    )
    return f"""
    with near as (
        select if(isfinite(x::double - y), x::double - y, 0.0) as delta
        from {", ".join(starts)}
    ), tokens as (
        select sample_id, unnest(a.teacher) as x, unnest(b.teacher) as y{unnested_masks}
        from (select *, {a.teacher} as teacher from {a.source}) as a
        join (select *, {b.teacher} as teacher from {b.source}) as b using (sample_id)
    ), deltas as (
        select sample_id, x::double - y as delta, delta - (select delta from near) as moved
        from tokens where {trained}
    ), samples as materialized (
        select count(*) as n, count(delta) as there, count(*) filter (delta != 0) as differing,
               sum(moved) as moved, sum(moved * moved) as squares, sum(abs(delta)) as total,
               max(abs(delta)) as largest, count(*) filter (abs(delta) > 1) as over_one
        from deltas group by sample_id
    ), whole as (
        select count(*) as samples, coalesce(sum(n), 0)::bigint as tokens,
               sum(moved) / tokens as moved, sum(squares) / tokens as squares,
               coalesce(sum(differing), 0)::bigint as differing, sum(total) / tokens as mean_abs,
               max(largest) as max_abs, sum(over_one) / tokens as over_one_nat,
               avg(total ** 2) as sigma_squared,
               count(*) filter (there < n or not isfinite(total)) as broken
        from samples
    )
    select samples, tokens, differing, coalesce(moved + near.delta, 0.0) as mean,
           coalesce(sqrt(greatest(squares - moved ** 2, 0.0)), 0.0) as std,
           coalesce(mean_abs, 0.0) as mean_abs, coalesce(max_abs, 0.0) as max_abs,
           coalesce(over_one_nat, 0.0) as over_one_nat,
           coalesce(sigma_squared, 0.0) as sigma_squared, broken
    from whole, near"""


def unnested(lists: Lists, carried: str = "", **items: str) -> str:
    """A subquery with a row a token that trains: lists item by item, and what a row carries."""
    columns = [carried] if carried else []
    columns += [f"unnest({each}) as {name}" for name, each in items.items()]
    if lists.mask is None:
        return f"(select {', '.join(columns)} from {lists.source})"
    columns.append(f"unnest({lists.mask}) as trained")
    return f"(from (select {', '.join(columns)} from {lists.source}) where trained is not false)"


def _width(type_: str) -> str:
    return f"""case when width > 0 then width::{type_}
                    else error('expected a width above 0, found ' || width) end"""
