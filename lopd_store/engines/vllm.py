"""Scoring and sampling with vLLM, in this process, on a CPU or on GPUs."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.documents.scoring import Sampling
from lopd_store.engines.answers import RawAnswer, checked
from lopd_store.engines.protocol import (
    Engine,
    Floats,
    Sampler,
    Samples,
    Scorer,
    Sequences,
    refuse_unscorable,
    row,
)
from lopd_store.engines.vllm_engine import (
    Role,
    VllmOptions,
    close_engine,
    failures,
    import_vllm,
    open_engine,
    scoring_facts,
    token_id_logprobs,
)
from lopd_store.errors import EngineError, UsageError
from lopd_store.rows import flat
from lopd_store.rows.columns import FINISH_REASONS
from lopd_store.rows.flat import ListArray

LARGEST_SEED: Final = 2**63 - 1
COLDEST: Final = 0.01
"""vLLM raises any temperature between 0 and this to this without a word."""


class _VllmEngine(Engine):
    """One model in vLLM; what a scorer and a sampler share."""

    def __init__(self, options: VllmOptions, *, role: Role) -> None:
        self._vllm: Any = import_vllm()
        self._engine: Any = open_engine(options, role=role)
        self._scoring = scoring_facts(self._engine, options)
        model = self._engine.llm_engine.vllm_config.model_config
        self._vocab_size = int(model.get_vocab_size())
        self._max_tokens = int(model.max_model_len) - 1
        self._usable = True

    @property
    def scoring(self) -> Mapping[str, Any]:
        """Facts for the identity document."""
        return self._scoring

    @property
    def vocab_size(self) -> int:
        """Rows of the model's vocabulary."""
        return self._vocab_size

    @property
    def max_tokens(self) -> int:
        """One less than `max_model_len`: vLLM always decodes a token after the prompt."""
        return self._max_tokens

    def close(self) -> None:
        """Free the model."""
        engine, self._engine = self._engine, None
        if engine is not None:
            close_engine(engine)

    def _generate(self, prompts: list[list[int]], params: Any) -> list[Any]:
        """Run requests; an interrupted engine has half of them left and is not used again."""
        if self._engine is None or not self._usable:
            state = "a closed one" if self._engine is None else "one that was cut off in a call"
            raise EngineError(f"expected an open vllm engine, found {state}")
        requests = [{"prompt_token_ids": ids} for ids in prompts]
        self._usable = False
        try:
            outputs: list[Any] = self._engine.generate(requests, params, use_tqdm=False)
        except failures() as error:
            raise EngineError(f"vLLM failed: {type(error).__name__}: {error}") from error
        self._usable = True
        if len(outputs) != len(prompts):
            raise EngineError(f"vLLM: expected {len(prompts)} answers, found {len(outputs)}")
        return outputs


class VllmScorer(_VllmEngine, Scorer):
    """A `Scorer` over vLLM's prompt log-probs.

    On the V2 model runner of vLLM ≥ 0.31 (GPUs only) it asks for the response's ids alone, which
    skips ranks and the prompt's output layer; that path needs a GPU to run and is tested here
    only for how its answers are read. Elsewhere it asks for `prompt_logprobs=0`.

    Raises:
        NotFoundError: `model` is not a folder.
        UsageError: an engine argument that would make answers wrong.
        EngineError: vLLM is missing or cannot open the model.
    """

    def __init__(self, options: VllmOptions) -> None:
        super().__init__(options, role="score")
        self._by_ids = token_id_logprobs(self._vllm, self._engine)
        path = "prompt_logprob_token_ids" if self._by_ids else "prompt_logprobs"
        self._scoring["settings"]["prompt_path"] = path

    def score(self, sequences: Sequences) -> list[Floats]:
        """Validated log-probs of every response, in order. Raises EngineError."""
        refuse_unscorable(sequences, vocab_size=self.vocab_size, max_tokens=self.max_tokens)
        asked = np.flatnonzero(sequences.response_lengths)
        answers: list[Floats] = [np.empty(0, np.float32)] * len(sequences)
        outputs = self._generate(
            [sequences.ids(index).tolist() for index in asked],
            [self._params(sequences, index) for index in asked],
        )
        for index, output in zip(asked, outputs, strict=True):
            answers[index] = checked(
                self._read(output, int(sequences.prompt_lengths[index])),
                row(sequences.response, index),
                sequence=int(index),
                engine="vllm",
            )
        return answers

    def _params(self, sequences: Sequences, index: int) -> Any:
        fixed = {"max_tokens": 1, "temperature": 0, "detokenize": False}
        if not self._by_ids:
            return self._vllm.SamplingParams(**fixed, prompt_logprobs=0, flat_logprobs=True)
        return self._vllm.SamplingParams(
            **fixed,
            prompt_logprob_token_ids=row(sequences.response, index).reshape(-1, 1),
            prompt_logprob_start=int(sequences.prompt_lengths[index]) - 1,
        )

    def _read(self, output: Any, prompt_length: int) -> RawAnswer:
        return (
            read_id_logprobs(output, prompt_length)
            if self._by_ids
            else read_flat(output.prompt_logprobs, prompt_length - 1)
        )


class VllmSampler(_VllmEngine, Sampler):
    """A `Sampler` over vLLM; takes and raises what `VllmScorer` does, and needs a tokenizer."""

    def __init__(self, options: VllmOptions) -> None:
        super().__init__(options, role="sample")

    def sample(self, prompts: ListArray, *, sampling: Sampling, seeds: Sequence[int]) -> Samples:
        """Sample `sampling.n` responses per prompt. Raises EngineError or UsageError."""
        nothing = _list_column([np.empty(0, np.int32)] * len(prompts), pa.int32())
        refuse_unscorable(
            Sequences(prompts, nothing),
            vocab_size=self.vocab_size,
            max_tokens=self.max_tokens - 1,
        )
        places = np.repeat(np.arange(len(prompts)), sampling.n)
        _check_seeds(seeds, len(places))
        room = self.max_tokens - flat.lengths(prompts)
        fixed = _fixed_params(sampling)
        outputs = self._generate(
            [row(prompts, place).tolist() for place in places],
            [
                self._vllm.SamplingParams(
                    **fixed, seed=seed, max_tokens=min(sampling.max_tokens, int(room[place]))
                )
                for place, seed in zip(places, seeds, strict=True)
            ],
        )
        return read_samples([output.outputs[0] for output in outputs])


def read_flat(flat: Any, skipped: int) -> RawAnswer:
    """A `FlatLogprobs` with one entry per position, less its first `skipped` entries."""
    if flat is None or not hasattr(flat, "token_ids"):  # a runner that fills in nothing
        return RawAnswer(logprobs=())
    return RawAnswer(
        logprobs=np.array(flat.logprobs, np.float64)[skipped:],
        echoed=np.array(flat.token_ids, np.int64)[skipped:],
        ranks=flat.ranks[skipped:],
    )


def read_id_logprobs(output: Any, prompt_length: int) -> RawAnswer:
    """A `RequestOutput` with float32 `prompt_token_id_logprobs` [response tokens, 1].

    The ids scored are the ones sent with the request; what is echoed is the whole sequence.
    """
    column = output.prompt_token_id_logprobs
    if column is None or column.ndim != 2 or column.shape[1] != 1:  # noqa: PLR2004 - a column
        return RawAnswer(logprobs=())
    return RawAnswer(logprobs=column[:, 0], echoed=output.prompt_token_ids[prompt_length:])


def read_samples(outputs: Sequence[Any]) -> Samples:
    """`CompletionOutput`s with flat log-probs of the sampled tokens, validated.

    Raises:
        EngineError: a log-prob that cannot be right, no token at all, or an unknown finish.
    """
    ids = [np.array(output.token_ids, np.int32) for output in outputs]
    logprobs = [
        checked(read_flat(output.logprobs, 0), sampled, sequence=index, engine="vllm")
        for index, (output, sampled) in enumerate(zip(outputs, ids, strict=True))
    ]
    for index, output in enumerate(outputs):
        if output.finish_reason not in FINISH_REASONS:
            raise EngineError(
                f"sample {index}: expected one of {', '.join(FINISH_REASONS)} as finish reason, "
                f"found {output.finish_reason}"
            )
    return Samples(
        response_ids=_list_column(ids, pa.int32()),
        rollout_logprobs=_list_column(logprobs, pa.float32()),
        finish_reason=pa.array([output.finish_reason for output in outputs], pa.string()),
    )


def _list_column(rows: Sequence[npt.NDArray[Any]], item: pa.DataType) -> ListArray:
    offsets = flat.running(np.array([len(values) for values in rows], np.int64))
    values = np.concatenate(rows) if rows else np.empty(0, item.to_pandas_dtype())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, item))


def _check_seeds(seeds: Sequence[int], wanted: int) -> None:
    if len(seeds) != wanted:
        raise UsageError(f"expected one seed per sample ({wanted}), found {len(seeds)}")
    if wrong := [seed for seed in seeds if not 0 <= seed <= LARGEST_SEED]:
        raise UsageError(f"expected seeds in [0, 2^63), found {wrong[0]}")


def _fixed_params(sampling: Sampling) -> dict[str, Any]:
    temperature, top_p = float(sampling.temperature), float(sampling.top_p)
    if temperature != 0 and not COLDEST <= temperature < np.inf:
        raise UsageError(
            f"temperature: expected 0 or at least {COLDEST}, found {sampling.temperature}"
        )
    if not 0 < top_p <= 1:
        raise UsageError(f"top_p: expected a number in (0, 1], found {sampling.top_p}")
    return {
        "n": 1,
        "temperature": temperature,
        "top_p": top_p,
        "logprobs": 0,
        "flat_logprobs": True,
        "detokenize": False,
    }
