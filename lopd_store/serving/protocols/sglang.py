"""`POST /generate`, as SGLang has it: `return_logprob` over the input, nothing generated.

What a stored answer says: `[log-prob, id, null]` for each input position from `logprob_start_len`
on; the first of them is null, as SGLang has it, and so is what is not stored. Other likely tokens
are null.
"""

import json
import secrets
from collections.abc import Iterator
from collections.abc import Sequence as Several
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

from lopd_store.serving.answers import Asked, Ids, Scored, Sequence
from lopd_store.serving.protocols import reading
from lopd_store.serving.protocols.protocol import ForLiveModels, Question
from lopd_store.serving.protocols.reading import Fields
from lopd_store.serving.protocols.refusal import Refusal, malformed
from lopd_store.serving.served import Served

PATH: Final = "/generate"

_NEW_TOKENS_BY_DEFAULT: Final = 128  # of max_new_tokens, in SGLang
_ONLY_OUTPUT: Final = -1  # of logprob_start_len: no input position
_UNKNOWN: Final = {"null": "null", "nan": "NaN"}
"""Spellings of a log-prob that is not stored. NaN is no JSON, but Python's reader takes it, and
clients that make a tensor of all positions before they cut off the prompt need a float."""

_BEYOND_IDS: Final = ("input_embeds", "image_data", "video_data", "audio_data", "lora_path")


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A `Question`.

    Attributes:
        asked: see `Question`.
        alone: one sequence was sent, not a list of them: the reply is one object.
        names: what each sequence is called in the reply.
        starts: the first input position that is wanted, for each sequence.
        top: whether other likely tokens are asked for, for each sequence.
        weights: what the teacher's weights are called.
        unknown: how a log-prob that is not stored is spelt.
    """

    asked: Asked
    alone: bool
    names: tuple[str, ...]
    starts: tuple[int, ...]
    top: tuple[bool, ...]
    weights: str
    unknown: str

    def reply(self, found: Several[Scored]) -> Iterator[str]:
        """See `Question`."""
        if not self.alone:
            yield "["
        for index, scored in enumerate(found):
            yield (", " if index else "") + self._answer(index, scored)
        if not self.alone:
            yield "]"

    def _answer(self, index: int, scored: Scored) -> str:
        ids = self.asked.sequences[index].ids.tolist()
        start = self.starts[index]
        meta: dict[str, Any] = {
            "id": self.names[index],
            "finish_reason": {"type": "length", "length": 0},
            "prompt_tokens": len(ids),
            "weight_version": self.weights,
            "completion_tokens": 0,
            "cached_tokens": 0,
            "output_token_logprobs": [],
            "output_token_logprobs_length": 0,
        }
        if self.top[index]:
            meta |= {"input_top_logprobs": [None] * (len(ids) - start), "output_top_logprobs": []}
        triples = self._triples(ids[start:], scored.positions()[start:])
        return (
            f'{{"text": "", "output_ids": [], "meta_info": {json.dumps(meta)[:-1]},'
            f' "input_token_logprobs": [{triples}]}}}}'
        )

    def _triples(self, ids: list[int], known: list[float | None]) -> str:
        if not ids:
            return ""
        return f"[null, {ids[0]}, null]" + "".join(
            f", [{self.unknown if value is None else repr(value)}, {token}, null]"
            for token, value in zip(ids[1:], known[1:], strict=True)
        )


def read(body: bytes, served: Served, query: str = "") -> Question:
    """See `Dialect`. The address may say `?unknown=nan`."""
    unknown = _unknown(query)
    fields = reading.read_object(body)
    if generates := _generates(fields):
        return ForLiveModels(asked=_asked(body, generates=generates))
    found, alone = _sequences(fields, served)
    given = _each(fields, "logprob_start_len", len(found), default=_ONLY_OUTPUT)
    starts = [_start(start, len(ids)) for start, ids in zip(given, found, strict=True)]
    sequences = [_sequence(ids, start) for ids, start in zip(found, starts, strict=True)]
    return Generation(
        asked=_asked(body, *sequences),
        alone=alone,
        names=_names(fields, len(found)),
        starts=tuple(starts),
        top=tuple(count > 0 for count in _each(fields, "top_logprobs_num", len(found), default=0)),
        weights=_weights(served),
        unknown=unknown,
    )


def refuse(refusal: Refusal) -> str:
    """See `Dialect`."""
    error: dict[str, Any] = {"message": refusal.message}
    if refusal.longest_prefix is not None:
        error |= {"sequence": refusal.sequence, "longest_prefix": refusal.longest_prefix}
    return json.dumps({"error": error})


def model_info(served: Served) -> str:
    """The reply of `GET /get_model_info`."""
    name = served.names[0]
    return json.dumps(
        {
            "model_path": name,
            "tokenizer_path": name,
            "is_generation": True,
            "preferred_sampling_params": None,
            "weight_version": _weights(served),
            "lopd": served.to_json(),
        }
    )


def _asked(body: bytes, *sequences: Sequence, generates: str | None = None) -> Asked:
    return Asked(protocol="sglang", path=PATH, body=body, sequences=sequences, generates=generates)


def _weights(served: Served) -> str:
    return str(served.teacher.weights_digest) if served.teacher else "unknown"


def _generates(fields: Fields) -> str | None:
    """Why it takes a live model; None where the input's log-probs are all that is wanted."""
    if reading.flag(fields, "stream"):
        return "it wants a stream"
    for one in _several(fields, "sampling_params"):
        sampling = {} if one is None else one
        if not isinstance(sampling, dict):
            raise malformed("sampling_params: expected an object", param="sampling_params")
        most = reading.whole(sampling, "max_new_tokens", default=_NEW_TOKENS_BY_DEFAULT, least=0)
        if most or reading.whole(sampling, "n", default=1, least=1) > 1:
            return f"it asks for {most} generated tokens: expected max_new_tokens 0"
    name = "return_logprob"
    wanted = [reading.flag({name: one}, name) for one in _several(fields, name)]
    return None if all(wanted) else "it asks for no log-probs: expected return_logprob true"


def _sequences(fields: Fields, served: Served) -> tuple[list[Ids], bool]:
    if beyond := [name for name in _BEYOND_IDS if fields.get(name) is not None]:
        raise malformed(
            f"{beyond[0]}: expected token ids only, as rows are known by their ids", param=beyond[0]
        )
    sent = fields.get("text") if fields.get("input_ids") is None else fields["input_ids"]
    return reading.one_or_many(sent, name="input_ids", vocab_size=served.vocab_size)


def _sequence(ids: Ids, start: int) -> Sequence:
    """The entry at `start` is null, so what is wanted begins behind it."""
    return Sequence(ids=ids, prompt_length=start + 1 if start + 1 < len(ids) else None)


def _several(fields: Fields, name: str) -> list[Any]:
    """The values of a field that may be sent once for all sequences."""
    value = fields.get(name)
    return value if isinstance(value, list) and value else [value]


def _each(fields: Fields, name: str, count: int, *, default: int) -> list[int]:
    """A number for each sequence."""
    values = _several(fields, name)
    if not isinstance(fields.get(name), list):
        values *= count
    if len(values) != count:
        raise malformed(f"{name}: expected {count} values, found {len(values)}", param=name)
    return [reading.whole({name: one}, name, default=default, least=-1) for one in values]


def _names(fields: Fields, count: int) -> tuple[str, ...]:
    """What the sequences are called: as asked, or made up."""
    given = fields.get("rid")
    if isinstance(given, str):
        return (given,) if count == 1 else tuple(f"{given}_{i}" for i in range(count))
    if isinstance(given, list) and len(given) == count and all(isinstance(n, str) for n in given):
        return tuple(given)
    if given is not None:
        raise malformed(f"rid: expected a string, or {count} of them", param="rid")
    return tuple(secrets.token_hex(16) for _ in range(count))


def _start(start: int, length: int) -> int:
    if start > length:
        raise malformed(
            f"logprob_start_len: expected at most the {length} ids of the sequence, found {start}",
            param="logprob_start_len",
        )
    return length if start == _ONLY_OUTPUT else start


def _unknown(query: str) -> str:
    wanted = parse_qs(query).get("unknown", ["null"])[-1]
    if wanted not in _UNKNOWN:
        raise malformed(f"unknown: expected null or nan, found {wanted:.100}", param="unknown")
    return _UNKNOWN[wanted]
