# ruff: noqa: S608 - only names that were checked and words of ours become SQL
"""The views of an attached shard set: `signals`, `rollouts` and `tokens`.

Only our own words become SQL: the name was checked, and columns are ours or `*`.
"""

from dataclasses import dataclass
from typing import Final

from lopd_store.rows.columns import SIGNAL_COLUMNS
from lopd_store.sql.attached import MASK, Attached

SHARDS: Final = "shards_of_"  # and a name: the variable that holds its shards' paths
TEXT_OF: Final = "text_of_"  # and a name: the function from token ids to texts, if there is one
_OF_TOKENS: Final = (
    *("sample_id", "prompt_id", "response_ids"),
    *("teacher_logprobs", "rollout_logprobs", MASK),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    """What a row's lists are in SQL, NULL of their type where no shard has one.

    Attributes:
        source: the view they stand in.
        teacher: the teacher's log-probs.
        has_teacher: whether any shard has them.
        rollout: the sampler's own.
        mask: the loss mask; None where no shard has one, as even an unnested NULL takes time.
        any: one that every row has, an item a response token. Where rows have the teacher's it
            is that one: who asks for a token's numbers then reads no ids.
        trained: how many tokens of the row train.
    """

    source: str
    teacher: str
    has_teacher: bool
    rollout: str
    mask: str | None
    any: str
    trained: str

    @classmethod
    def of(cls, attached: Attached) -> "Lists":
        """The lists of an attached shard set."""
        columns = attached.columns
        length = "teacher_logprobs" if "teacher_logprobs" in attached.everywhere else "response_ids"
        return cls(
            source=f"{attached.schema}.signals",
            teacher="teacher_logprobs" if "teacher_logprobs" in columns else "null::float[]",
            has_teacher="teacher_logprobs" in columns,
            rollout="rollout_logprobs" if "rollout_logprobs" in columns else "null::float[]",
            mask=MASK if MASK in columns else None,
            any=length,
            trained=_trained(attached),
        )


def _trained(attached: Attached) -> str:
    """A mask is a byte or two a token on the disk, ids and log-probs are four."""
    if MASK not in attached.columns:
        return "len(response_ids)"
    otherwise = "0" if MASK in attached.everywhere else "len(response_ids)"
    return f"coalesce(list_sum({MASK}), {otherwise})"


def views(attached: Attached, lists: Lists) -> list[str]:
    """Statements that make a schema, its views, and what their tokens' texts come from."""
    schema = attached.schema
    text = "null::varchar" if attached.tokenizer is None else f"{TEXT_OF}{attached.name}(id)"
    signals = ", ".join(name for name in SIGNAL_COLUMNS if name in attached.columns)
    present = ", ".join(name for name in _OF_TOKENS if name in attached.columns)
    trained = f"coalesce({lists.mask}[i], true)" if lists.mask else "true"
    # Items by index, as lists unnested side by side are all read even when one is asked for.
    return [
        f"create schema {schema}",
        f"create macro {schema}.token_text(id) as {text}",
        f"""create view {lists.source} as
            from read_parquet(getvariable('{SHARDS}{attached.name}'), union_by_name = true)""",
        f"""create view {schema}.rollouts as
            select *{f" exclude ({signals})" if signals else ""} from {lists.source}""",
        f"""create view {schema}.tokens as
            select sample_id, prompt_id, i - 1 as position,
                   response_ids[i] as token_id, {schema}.token_text(response_ids[i]) as token,
                   ({lists.teacher})[i] as teacher_logprob,
                   ({lists.rollout})[i] as rollout_logprob,
                   teacher_logprob::double - rollout_logprob as advantage,
                   {trained} as trained
            from (select {present}, unnest(range(1, len({lists.any}) + 1)) as i
                  from {lists.source})""",
    ]
