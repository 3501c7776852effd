"""The table macros: what people ask of a signal. Tokens whose loss mask is false never count."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from lopd_store.sql import macro_bodies as bodies
from lopd_store.sql.views import Lists


@dataclass(frozen=True, slots=True, kw_only=True)
class Macro:
    """A table macro.

    Attributes:
        call: as one writes it, with its defaults.
        gives: what it is for, in one line.
        columns: name → meaning and unit.
    """

    call: str
    gives: str
    columns: Mapping[str, str]

    @property
    def name(self) -> str:
        """The name in `call`."""
        return self.call.partition("(")[0]


MACROS: Final = (
    Macro(
        call="per_prompt()",
        gives="each prompt's samples, with mean log-prob and perplexity",
        columns={
            "prompt_id": "the prompt",
            "samples": "rows with it",
            "tokens": "their response tokens",
            "mean_teacher_logprob": "mean over these tokens, nats",
            "teacher_perplexity": "exp of minus that",
            "mean_rollout_logprob": "the same of the sampler's own log-probs, nats",
            "rollout_perplexity": "exp of minus that",
        },
    ),
    Macro(
        call="disagreements(n := 20)",
        gives="the n tokens with the largest |advantage|, largest first",
        columns={
            "sample_id": "the sample",
            "prompt_id": "its prompt",
            "position": "of the token in the response, from 0",
            "token_id": "its id",
            "token": "its text",
            "teacher_logprob": "nats",
            "rollout_logprob": "nats",
            "advantage": "teacher_logprob - rollout_logprob, nats",
        },
    ),
    Macro(
        call="histogram(of, width)",
        gives="tokens by 'teacher_logprob', 'rollout_logprob' or 'advantage', in bins of a width",
        columns={
            "low": "the bin's lower end, nats; belongs to it",
            "high": "its upper end, nats; does not",
            "tokens": "tokens in it",
            "share": "of all tokens, 0 to 1",
        },
    ),
    Macro(
        call="position_profile(width := 1)",
        gives="means by position in the response, in bins of a width",
        columns={
            "position": "the bin's first position, from 0",
            "tokens": "tokens in it",
            "mean_teacher_logprob": "nats",
            "mean_rollout_logprob": "nats",
            "mean_advantage": "nats",
            "mean_abs_advantage": "mean of |advantage|, nats",
        },
    ),
    Macro(
        call="lengths()",
        gives="how responses ended and how long they are; the last row is of all",
        columns={
            "finish_reason": "stop, length, abort; all",
            "samples": "rows",
            "share": "of all rows, 0 to 1",
            "tokens": "their response tokens",
            "mean": "tokens a response",
            "min": "tokens of the shortest",
            "median": "tokens of the middle one",
            "p90": "tokens that 90 % do not exceed",
            "max": "tokens of the longest",
        },
    ),
    Macro(
        call="compare(first, second)",
        gives="teacher log-probs of two attached sets on common samples: delta = first less second",
        columns={
            "samples": "in both, with a token that both train",
            "tokens": "such tokens",
            "differing": "tokens with a delta other than 0",
            "mean": "of delta, nats",
            "std": "of delta, nats",
            "mean_abs": "of |delta|, nats",
            "max_abs": "the largest |delta|, nats",
            "over_one_nat": "the share of tokens with |delta| over 1",
            "sigma_squared": "the mean over samples of (the sum of |delta|) squared, nats squared",
            "broken": "samples without as many finite log-probs in both",
        },
    ),
)
"""Every macro, in the order people meet them."""


def macros(name: str, sets: Mapping[str, Lists]) -> Iterator[str]:
    """Statements that make the macros of one of the sets that are attached."""
    lists, schema = sets[name], f'"{name}"'
    made = {
        "per_prompt": bodies.per_prompt(lists),
        "disagreements": bodies.disagreements(schema, lists),
        "histogram": bodies.histogram(lists),
        "position_profile": bodies.position_profile(lists),
        "lengths": bodies.lengths(lists),
        "compare": bodies.compare(sets),
    }
    for macro in MACROS:
        yield f"create macro {schema}.{macro.call} as table {made[macro.name]}"
