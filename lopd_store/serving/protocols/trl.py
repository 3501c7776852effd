"""`POST /get_sequence_logprobs/`, as `trl vllm-serve` has it: JSON lists, or arrays in base64.

What a stored answer says: the log-prob of each response token. In the arrays, what is not stored is
-inf, which is how TRL spells a number that is not there, and an unknown token has id -1, which no
tensor can be indexed with.
"""

import base64
import json
import math
from collections.abc import Iterator
from collections.abc import Sequence as Several
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lopd_store.serving.answers import Asked, Scored, Sequence
from lopd_store.serving.protocols import reading
from lopd_store.serving.protocols.protocol import ForLiveModels, Question
from lopd_store.serving.protocols.reading import Fields
from lopd_store.serving.protocols.refusal import Refusal, malformed
from lopd_store.serving.served import Served

PATH: Final = "/get_sequence_logprobs/"

_TOP_BY_DEFAULT: Final = 100  # of top_logprobs, in TRL
_NO_TOKEN: Final = -1
_MOST_PLACES: Final = 1 << 26  # of the arrays, which are as wide as the longest response

_Row = tuple[list[int], list[float | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceLogprobs:
    """A `Question`.

    Attributes:
        asked: see `Question`; sequences that are all prompt are not among those asked for.
        sequences: all of them.
        top: how many likely tokens a position has in the arrays, 0 or 1.
        binary: arrays in base64 are wanted, not lists.
    """

    asked: Asked
    sequences: tuple[Sequence, ...]
    top: int
    binary: bool

    def reply(self, found: Several[Scored]) -> Iterator[str]:
        """See `Question`."""
        there = iter(found)
        rows = [_row(one, next(there)) if _response(one) else ([], []) for one in self.sequences]
        if self.binary:
            yield json.dumps(_arrays(rows, top=self.top))
        else:
            yield from _lists(rows)


def read(body: bytes, served: Served, query: str = "") -> Question:  # noqa: ARG001 - no options
    """See `Dialect`."""
    fields = reading.read_object(body)
    binary = (reading.text(fields, "response_format") or "json") == "binary"
    top = reading.whole(fields, "top_logprobs", default=_TOP_BY_DEFAULT, least=0)
    _check_temperature(fields)
    sequences = _sequences(fields, served)
    if generates := _generates(top, binary=binary):
        return ForLiveModels(asked=_asked(body, generates=generates))
    places = tuple(place for place, one in enumerate(sequences) if _response(one))
    wanted = (sequences[place] for place in places)
    return SequenceLogprobs(
        asked=replace(_asked(body, *wanted), places=places),
        sequences=tuple(sequences),
        top=top,
        binary=binary,
    )


def refuse(refusal: Refusal) -> str:
    """See `Dialect`."""
    detail: dict[str, Any] = {"detail": refusal.message}
    if refusal.longest_prefix is not None:
        detail |= {"sequence": refusal.sequence, "longest_prefix": refusal.longest_prefix}
    return json.dumps(detail)


def _asked(body: bytes, *sequences: Sequence, generates: str | None = None) -> Asked:
    return Asked(protocol="trl", path=PATH, body=body, sequences=sequences, generates=generates)


def _response(sequence: Sequence) -> int:
    """How many ids follow the prompt."""
    return len(sequence.ids) - (sequence.prompt_length or 0)


def _row(sequence: Sequence, scored: Scored) -> _Row:
    """What follows the prompt: the ids, and their log-probs where they are known."""
    start = sequence.prompt_length
    return sequence.ids[start:].tolist(), scored.positions()[start:]


def _generates(top: int, *, binary: bool) -> str | None:
    """Why it takes a live model: arrays of likely tokens would all be empty, and look like some."""
    most = 1 if binary else 0
    if top <= most:
        return None
    return (
        f"it asks for the {top} likeliest tokens of each position: expected top_logprobs"
        f" {'0 or 1' if binary else '0, or the binary format'}"
    )


def _sequences(fields: Fields, served: Served) -> list[Sequence]:
    given = reading.listed(fields.get("sequences"), name="sequences")
    lengths = reading.listed(fields.get("prompt_lengths"), name="prompt_lengths")
    if len(given) != len(lengths):
        raise malformed(
            f"prompt_lengths: expected one for each of {len(given)} sequences,"
            f" found {len(lengths)}",
            param="prompt_lengths",
        )
    pairs = zip(given, lengths, strict=True)
    found = [_sequence(ids, length, served.vocab_size) for ids, length in pairs]
    if len(found) * max(map(_response, found), default=0) > _MOST_PLACES:
        raise malformed(
            f"sequences: expected at most {_MOST_PLACES} places in an array as wide as the longest"
            " response, found more: send long ones apart",
            param="sequences",
        )
    return found


def _sequence(given: Any, length: Any, vocab_size: int) -> Sequence:
    ids = reading.ids_of(given, name="sequences", vocab_size=vocab_size)
    if type(length) is not int or not 0 <= length <= len(ids):
        raise malformed(
            f"prompt_lengths: expected integers from 0 to the length of the sequence, {len(ids)}",
            param="prompt_lengths",
        )
    return Sequence(ids=ids, prompt_length=length)


def _check_temperature(fields: Fields) -> None:
    """Log-probs of a prompt are those at temperature 1, whatever is asked: vLLM's are, too."""
    found = fields.get("temperature")
    if found is None:
        return
    is_number = isinstance(found, (int, float)) and not isinstance(found, bool)
    if not is_number or not 0 <= found < math.inf:
        raise malformed("temperature: expected a number from 0 on", param="temperature")


def _lists(rows: Several[_Row]) -> Iterator[str]:
    """Each position's log-probs and ids in lists: one, or none where none is stored."""
    yield '{"logprobs": ['
    for index, (_, known) in enumerate(rows):
        values = [[] if value is None else [value] for value in known]
        yield (", " if index else "") + json.dumps(values)
    yield '], "logprob_token_ids": ['
    for index, (ids, known) in enumerate(rows):
        pairs = zip(ids, known, strict=True)
        tokens = [[] if value is None else [token] for token, value in pairs]
        yield (", " if index else "") + json.dumps(tokens)
    yield "]}"


def _arrays(rows: Several[_Row], *, top: int) -> dict[str, Any]:
    lengths = [len(ids) for ids, _ in rows]
    shape = (len(rows), max(lengths, default=0))
    logprobs = np.full(shape, -np.inf, np.float32)
    tokens = np.zeros(shape, np.int32)
    for index, (ids, known) in enumerate(rows):
        tokens[index, : len(ids)] = ids
        logprobs[index, : len(ids)] = [-np.inf if value is None else value for value in known]
    likely = (*shape, top)
    return {
        "logprobs_b64": _base64(np.full(likely, -np.inf, np.float32)),
        "token_ids_b64": _base64(np.full(likely, _NO_TOKEN, np.int32)),
        "actual_logprobs_b64": _base64(logprobs),
        "actual_token_ids_b64": _base64(tokens),
        "shape": list(likely),
        "completion_lengths": lengths,
    }


def _base64(array: npt.NDArray[Any]) -> str:
    """The array's bytes, little-endian, row after row."""
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()
