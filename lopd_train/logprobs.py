"""Log-probs of chosen tokens, from the hidden states and the output layer of a causal LM.

An array of [tokens, vocabulary] never exists, neither forward nor backward: logits are made in
blocks with a running logsumexp, dropped, and made again for the gradient.
"""

# ruff: noqa: N803, N806, N815 - shape letters end a tensor's name: docs/notation.md

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch

from lopd_store.errors import UsageError

CHUNK: Final = (1024, 4096)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputLayer:
    """logits = cap · tanh(scale · (hidden Wᵀ + bias) / cap); without a cap, scale · (…).

    Attributes:
        weight_VH: W. Rows beyond the tokenizer's are part of the softmax, as in the model.
        bias_V: or None.
        scale: what logits are multiplied by.
        cap: the bound that logits are bent to, or None.
    """

    weight_VH: torch.Tensor
    bias_V: torch.Tensor | None = None
    scale: float = 1.0
    cap: float | None = None


def output_layer(model: Any) -> OutputLayer:
    """The output layer of a causal LM of transformers; its tensors are the model's own.

    Raises:
        UsageError: the layer is not a plain linear one.
    """
    layer = model.get_output_embeddings()
    if not isinstance(layer, torch.nn.Linear):
        raise UsageError(
            f"{type(model).__name__}: expected a linear output layer, found {type(layer).__name__}"
        )
    config = model.config.get_text_config()
    scale = (getattr(config, "logit_scale", None) or 1) / (
        getattr(config, "logits_scaling", None) or 1
    )
    cap = getattr(config, "final_logit_softcapping", None)
    return OutputLayer(
        weight_VH=layer.weight,
        bias_V=layer.bias,
        scale=float(scale),
        cap=None if cap is None else float(cap),
    )


def target_logprobs(
    hidden_NH: torch.Tensor,
    layer: OutputLayer,
    targets_N: torch.Tensor,
    *,
    chunk: tuple[int, int] = CHUNK,
) -> torch.Tensor:
    """The log of softmax(logits)[target] of every token, nats; float32, or float64 as hidden is.

    The matrix product is in the dtype of `hidden_NH`, or in that of a surrounding autocast;
    everything after it is in float32 at least. Gradients flow into the hidden states, the weight
    and the bias, once.

    Args:
        hidden_NH: the states whose output predicts the targets.
        layer: from `output_layer`.
        targets_N: int64, each in [0, V).
        chunk: tokens and vocabulary entries of the logits that exist at once.

    Raises:
        UsageError: a target outside the vocabulary.
    """
    vocabulary = layer.weight_VH.shape[0]
    if len(targets_N) and not 0 <= int(targets_N.min()) <= int(targets_N.max()) < vocabulary:
        raise UsageError(
            f"expected targets in [0, {vocabulary}), found"
            f" {int(targets_N.min())} to {int(targets_N.max())}"
        )
    found_N: torch.Tensor = _TargetLogprobs.apply(
        hidden_NH, layer.weight_VH, layer.bias_V, targets_N, layer.scale, layer.cap, chunk
    )
    return found_N


class _TargetLogprobs(torch.autograd.Function):  # type: ignore[misc] # torch has no types here
    """`target_logprobs`, with the gradient onehot - p made block by block."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: torch.Tensor,
        weight_VH: torch.Tensor,
        bias_V: torch.Tensor | None,
        targets_N: torch.Tensor,
        scale: float,
        cap: float | None,
        chunk: tuple[int, int],
    ) -> torch.Tensor:
        blocks = _Blocks(hidden_NH, weight_VH, bias_V, targets_N, scale, cap, chunk)
        total_N = torch.full_like(targets_N, -torch.inf, dtype=blocks.wide)
        chosen_N = torch.zeros_like(total_N)
        for rows, words in blocks:
            logits, _ = blocks.logits(rows, words)
            here, column = blocks.targets(rows, words)
            found = logits.gather(1, column).squeeze(1)
            chosen_N[rows] = torch.where(here, found, chosen_N[rows])
            total_N[rows] = torch.logaddexp(total_N[rows], logits.logsumexp(1))
        ctx.save_for_backward(hidden_NH, weight_VH, bias_V, targets_N, total_N)
        ctx.how = (scale, cap, chunk, blocks.dtype)
        return chosen_N - total_N

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, slopes_N: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden_NH, weight_VH, bias_V, targets_N, total_N = ctx.saved_tensors
        scale, cap, chunk, dtype = ctx.how
        blocks = _Blocks(hidden_NH, weight_VH, bias_V, targets_N, scale, cap, chunk, dtype=dtype)
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        hidden = torch.zeros_like(hidden_NH, dtype=blocks.wide) if wants_hidden else None
        weight = torch.zeros_like(weight_VH, dtype=blocks.wide) if wants_weight else None
        bias = torch.zeros_like(bias_V, dtype=blocks.wide) if wants_bias else None
        with torch.autocast(hidden_NH.device.type, enabled=False):
            for rows, words in blocks:
                logits, bent = blocks.logits(rows, words)
                here, column = blocks.targets(rows, words)
                slopes = logits.sub_(total_N[rows, None]).exp_().neg_()
                slopes.scatter_add_(1, column, here[:, None].to(slopes.dtype))
                slopes *= slopes_N[rows, None] * scale
                if bent is not None:
                    slopes *= bent
                narrow = slopes.to(dtype)
                if hidden is not None:
                    hidden[rows] += narrow @ weight_VH[words].to(dtype)
                if weight is not None:
                    weight[words] += narrow.T @ hidden_NH[rows].to(dtype)
                if bias is not None:
                    bias[words] += slopes.sum(0)
        return (
            None if hidden is None else hidden.to(hidden_NH.dtype),
            None if weight is None else weight.to(weight_VH.dtype),
            None if bias is None else bias.to(bias_V.dtype),
            *[None] * 4,
        )


class _Blocks:
    """The blocks of logits of one call: vocabulary outside, so that a piece of W is read once."""

    def __init__(
        self,
        hidden_NH: torch.Tensor,
        weight_VH: torch.Tensor,
        bias_V: torch.Tensor | None,
        targets_N: torch.Tensor,
        scale: float,
        cap: float | None,
        chunk: tuple[int, int],
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._hidden, self._weight, self._bias = hidden_NH, weight_VH, bias_V
        self._targets, self._scale, self._cap, self._chunk = targets_N, scale, cap, chunk
        self.dtype = dtype or _product_dtype(hidden_NH)
        self.wide = torch.promote_types(hidden_NH.dtype, torch.float32)

    def __iter__(self) -> Iterator[tuple[slice, slice]]:
        tokens, words = self._hidden.shape[0], self._weight.shape[0]
        for first in range(0, words, self._chunk[1]):
            here = slice(first, min(first + self._chunk[1], words))
            for row in range(0, tokens, self._chunk[0]):
                yield slice(row, min(row + self._chunk[0], tokens)), here

    def logits(self, rows: slice, words: slice) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits of a block, float32 or float64, and the derivative of the cap, if there is one."""
        with torch.autocast(self._hidden.device.type, enabled=False):
            bias = None if self._bias is None else self._bias[words].to(self.dtype)
            logits = torch.nn.functional.linear(
                self._hidden[rows].to(self.dtype), self._weight[words].to(self.dtype), bias
            ).to(self.wide)
            if self._scale != 1:
                logits *= self._scale
            if self._cap is None:
                return logits, None
            bent = torch.tanh(logits / self._cap)
            return bent * self._cap, 1 - bent * bent

    def targets(self, rows: slice, words: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Which targets are in the block, and a column in it for each."""
        targets = self._targets[rows]
        here = (targets >= words.start) & (targets < words.stop)
        return here, (targets - words.start).clamp(0, words.stop - words.start - 1)[:, None]


def _product_dtype(hidden: torch.Tensor) -> torch.dtype:
    """That of a linear layer at this place: autocast's, where one is on (never for float64)."""
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind) and hidden.dtype != torch.float64:
        found: torch.dtype = torch.get_autocast_dtype(kind)
        return found
    return hidden.dtype
