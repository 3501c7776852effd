"""`POST /v1/completions`, as vLLM has it: `prompt_logprobs`, and `echo` with `logprobs`.

What a stored answer says: the log-prob of each response token. Ranks, decoded tokens and other
likely tokens are null or left out, positions of the prompt are null, and the token that a live
server would generate is not there (`completion_tokens` is 0).
"""

import json
import secrets
import time
from collections.abc import Iterator
from collections.abc import Sequence as Several
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from lopd_store.serving.answers import Asked, Ids, Scored, Sequence
from lopd_store.serving.protocols import reading
from lopd_store.serving.protocols.protocol import ForLiveModels, Question
from lopd_store.serving.protocols.reading import Fields
from lopd_store.serving.protocols.refusal import Refusal, RefusedError, malformed
from lopd_store.serving.served import Served

PATH: Final = "/v1/completions"
PROMPT_LENGTHS: Final = "lopd_prompt_lengths"

_TOKENS_BY_DEFAULT: Final = 16  # of max_tokens, in OpenAI's API
_TYPES: Final = {
    HTTPStatus.BAD_REQUEST: "BadRequestError",
    HTTPStatus.UNAUTHORIZED: "AuthenticationError",
    HTTPStatus.NOT_FOUND: "NotFoundError",
    HTTPStatus.NOT_IMPLEMENTED: "NotImplementedError",
    HTTPStatus.SERVICE_UNAVAILABLE: "ServiceUnavailableError",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A `Question`.

    Attributes:
        asked: see `Question`.
        model: the name to say in the reply.
        prompt_logprobs: whether each position's object is wanted.
        echo: whether OpenAI's lists of the prompt are wanted.
        generated: whether a live server would have put a generated token behind them.
        token_ids: whether ids are wanted beside the numbers.
    """

    asked: Asked
    model: str
    prompt_logprobs: bool
    echo: bool
    generated: bool
    token_ids: bool

    def reply(self, found: Several[Scored]) -> Iterator[str]:
        """See `Question`."""
        head = {
            "id": f"cmpl-{secrets.token_hex(8)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": self.model,
        }
        yield json.dumps(head)[:-1] + ', "choices": ['
        tokens = 0
        for index, (sequence, scored) in enumerate(zip(self.asked.sequences, found, strict=True)):
            yield ("," if index else "") + self._choice(index, sequence.ids.tolist(), scored)
            tokens += len(sequence.ids)
        usage = {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
        yield f'], "system_fingerprint": null, "usage": {json.dumps(usage)}}}'

    def _choice(self, index: int, ids: list[int], scored: Scored) -> str:
        known = scored.positions()
        lists = _lists(ids, known, generated=self.generated) if self.echo else None
        fields = {
            "index": str(index),
            "text": '""',
            "logprobs": "null" if lists is None else json.dumps(lists),
            "finish_reason": '"length"',
            "stop_reason": "null",
            "token_ids": "[]" if self.token_ids else "null",
            "prompt_logprobs": _positions(ids, known) if self.prompt_logprobs else "null",
            "prompt_token_ids": json.dumps(ids) if self.token_ids else "null",
        }
        return "{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}"


def read(body: bytes, served: Served, query: str = "") -> Question:  # noqa: ARG001 - no options
    """See `Dialect`."""
    fields = reading.read_object(body)
    most = reading.whole(fields, "max_tokens", default=_TOKENS_BY_DEFAULT, least=0)
    echo = reading.flag(fields, "echo") and _is_count(fields, "logprobs")
    prompt_logprobs = _is_count(fields, "prompt_logprobs") or echo
    token_ids = reading.flag(fields, "return_token_ids")
    model = _model(fields, served)
    if generates := _generates(fields, most, scores=prompt_logprobs):
        return ForLiveModels(asked=_asked(body, generates=generates))
    return Completion(
        asked=_asked(body, *_sequences(fields, served)),
        model=model,
        prompt_logprobs=prompt_logprobs,
        echo=echo,
        generated=most > 0,
        token_ids=token_ids,
    )


def refuse(refusal: Refusal) -> str:
    """See `Dialect`."""
    error: dict[str, Any] = {
        "message": refusal.message,
        "type": _TYPES.get(refusal.status, refusal.status.phrase),
        "param": refusal.param,
        "code": refusal.status.value,
    }
    if refusal.longest_prefix is not None:
        error |= {"sequence": refusal.sequence, "longest_prefix": refusal.longest_prefix}
    return json.dumps({"error": error})


def models(served: Served, *, created: int) -> str:
    """The reply of `GET /v1/models`, with what is served and by whom it was scored."""
    cards = [
        {
            "id": name,
            "object": "model",
            "created": created,
            "owned_by": "lopd",
            "root": name,
            "parent": None,
            "max_model_len": None,
            "lopd": served.to_json(),
        }
        for name in served.names
    ]
    return json.dumps({"object": "list", "data": cards})


def _asked(body: bytes, *sequences: Sequence, generates: str | None = None) -> Asked:
    return Asked(protocol="openai", path=PATH, body=body, sequences=sequences, generates=generates)


def _model(fields: Fields, served: Served) -> str:
    named = reading.text(fields, "model")
    if named is not None and named not in served.names:
        raise RefusedError(
            Refusal(
                status=HTTPStatus.NOT_FOUND,
                message=f"The model `{named:.200}` does not exist."
                f" Valid aliases: {', '.join(served.names)}.",
                param="model",
            )
        )
    return named or served.names[0]


def _generates(fields: Fields, most: int, *, scores: bool) -> str | None:
    """Why it takes a live model; None where the prompt's log-probs are all that is wanted."""
    of_generated = fields.get("logprobs") is not None and not reading.flag(fields, "echo")
    several = reading.whole(fields, "n", default=1, least=1) > 1
    several = reading.flag(fields, "use_beam_search") or several
    reasons = {
        "it has prompt_embeds": fields.get("prompt_embeds") is not None,
        "it wants a stream": reading.flag(fields, "stream"),
        f"it asks for {most} generated tokens: expected max_tokens 0 or 1": most > 1,
        "it asks for no log-probs of its prompt: prompt_logprobs, or echo with logprobs": (
            not scores
        ),
        "it asks for log-probs of a generated token: logprobs without echo": of_generated,
        "it asks for several continuations": several,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _sequences(fields: Fields, served: Served) -> list[Sequence]:
    if fields.get("truncate_prompt_tokens") is not None:
        raise malformed(
            "truncate_prompt_tokens: expected none, as other ids would be scored than were sent",
            param="truncate_prompt_tokens",
        )
    found, _ = reading.one_or_many(
        fields.get("prompt"), name="prompt", vocab_size=served.vocab_size
    )
    return [
        Sequence(ids=ids, prompt_length=length)
        for ids, length in zip(found, _prompt_lengths(fields, found), strict=True)
    ]


def _prompt_lengths(fields: Fields, found: Several[Ids]) -> list[int | None]:
    """Where responses begin, which this protocol cannot say: a field of ours that servers ignore.

    A read-through cache makes rows of it.
    """
    if fields.get(PROMPT_LENGTHS) is None:
        return [None] * len(found)
    given = reading.listed(fields[PROMPT_LENGTHS], name=PROMPT_LENGTHS)
    fit = (type(n) is int and 0 <= n < len(ids) for n, ids in zip(given, found, strict=False))
    if len(given) != len(found) or not all(fit):
        raise malformed(
            f"{PROMPT_LENGTHS}: expected an integer below the length of each of {len(found)}"
            " sequences",
            param=PROMPT_LENGTHS,
        )
    return given


def _is_count(fields: Fields, name: str) -> bool:
    """Whether a number of likely tokens is asked for; -1 means all of them."""
    return reading.whole(fields, name, default=-2, least=-1) >= -1


def _positions(ids: list[int], known: list[float | None]) -> str:
    """The prompt_logprobs of vLLM: null, or an object by token id."""
    return (
        "["
        + ",".join(
            "null"
            if value is None
            else f'{{"{token}":{{"logprob":{value!r},"rank":null,"decoded_token":null}}}}'
            for token, value in zip(ids, known, strict=True)
        )
        + "]"
    )


def _lists(ids: list[int], known: list[float | None], *, generated: bool) -> dict[str, Any]:
    """The logprobs of OpenAI; a generated token, which clients cut off, has null and no text."""
    tokens = [f"token_id:{token}" for token in ids]
    top = [
        None if value is None else {token: value}
        for token, value in zip(tokens, known, strict=True)
    ]
    if generated:
        tokens, known, top = [*tokens, ""], [*known, None], [*top, None]
    offsets = [0]
    for token in tokens[:-1]:
        offsets.append(offsets[-1] + len(token))
    return {
        "text_offset": offsets,
        "token_logprobs": known,
        "tokens": tokens,
        "top_logprobs": top,
    }
