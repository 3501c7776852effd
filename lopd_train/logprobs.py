"""Log-probs of chosen tokens, from the hidden states and the output layer of a causal LM.

Logits are made for some tokens at a time and dropped, so an array of [tokens, vocabulary] never
exists, neither forward nor backward.
"""

# ruff: noqa: N803, N806, N815 - shape letters end a tensor's name: docs/notation.md

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import torch

from lopd_store.errors import UsageError

Slopes: TypeAlias = Callable[[torch.Tensor, slice], torch.Tensor]
"""The gradient of a loss by some tokens' log-probs, from these log-probs and where they stand."""

CHUNK_LOGITS: Final = 1 << 26
"""256 MiB in float32: 441 tokens at a vocabulary of 151,936. See benchmarks/loss_memory.py."""


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
    slopes: Slopes | None = None,
    chunk: int | None = None,
) -> torch.Tensor:
    """The log of softmax(logits)[target] of every token, nats; float32, or float64 as hidden is.

    The matrix product is in the dtype of `hidden_NH`, or in that of a surrounding autocast;
    everything after it is in float32 at least. Gradients flow into the hidden states, the weight
    and the bias, once.

    A backward pass makes the logits again, which costs a third more matrix products than keeping
    them. With `slopes` that is spared: the gradients are made along with the log-probs. Should
    another gradient come than `slopes` foretold (up to a factor common to all tokens), the logits
    are made again after all: the result is right either way.

    Args:
        hidden_NH: the states whose output predicts the targets.
        layer: from `output_layer`.
        targets_N: int64, each in [0, V).
        slopes: the gradient that the loss will have by these log-probs, if that is known before.
        chunk: tokens whose logits exist at once; None for 256 MiB of float32.

    Raises:
        UsageError: a target outside the vocabulary.
    """
    vocabulary = layer.weight_VH.shape[0]
    if len(targets_N) and not 0 <= int(targets_N.min()) <= int(targets_N.max()) < vocabulary:
        raise UsageError(
            f"expected targets in [0, {vocabulary}), found"
            f" {int(targets_N.min())} to {int(targets_N.max())}"
        )
    chunk = chunk or max(1, CHUNK_LOGITS // vocabulary)
    softmax = _Softmax(layer, targets_N, chunk, _product_dtype(hidden_NH))
    slopes = slopes if torch.is_grad_enabled() else None
    found_N: torch.Tensor = _TargetLogprobs.apply(
        hidden_NH, layer.weight_VH, layer.bias_V, softmax, slopes
    )
    return found_N


class _TargetLogprobs(torch.autograd.Function):  # type: ignore[misc] # torch has no types here
    """`target_logprobs`; its backward pass is the same sweep, with the slopes that came."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: torch.Tensor,
        weight_VH: torch.Tensor,
        bias_V: torch.Tensor | None,
        softmax: "_Softmax",
        slopes: Slopes | None,
    ) -> torch.Tensor:
        tensors = (hidden_NH, weight_VH, bias_V)
        ctx.save_for_backward(*tensors)
        ctx.softmax = softmax
        ctx.made = None
        if slopes is None:
            return softmax.sweep(*tensors)
        ctx.made = _Gradients(tensors, ctx.needs_input_grad[:3], softmax.wide)
        return softmax.sweep(*tensors, slopes, ctx.made)

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, slopes_N: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        tensors = ctx.saved_tensors
        made, ctx.made = ctx.made, None  # a second pass finds none and makes them again
        if made is None or not made.rescale(slopes_N):
            made = _Gradients(tensors, ctx.needs_input_grad[:3], ctx.softmax.wide)
            ctx.softmax.sweep(*tensors, lambda _, rows: slopes_N[rows], made)
        return *made.results(), None, None


class _Gradients:
    """The gradients by hidden states, weight and bias: added up over chunks, in float32 at least.

    Attributes:
        sums: [N, H], [V, H] and [V], None where none is wanted.
        slopes: by the log-probs, that they were made with, chunk by chunk.
    """

    def __init__(
        self,
        inputs: tuple[torch.Tensor | None, ...],
        wanted: tuple[bool, ...],
        wide: torch.dtype,
    ) -> None:
        self._dtypes = [None if tensor is None else tensor.dtype for tensor in inputs]
        self.sums = [
            torch.zeros_like(tensor, dtype=wide) if want and tensor is not None else None
            for tensor, want in zip(inputs, wanted, strict=True)
        ]
        self.slopes: list[torch.Tensor] = []

    def add(
        self, rows: slice, grad_CV: torch.Tensor, hidden_CH: torch.Tensor, weight_VH: torch.Tensor
    ) -> None:
        """Add what one chunk of tokens gives, from the gradient by its products."""
        hidden_NH, weight_sum_VH, bias_V = self.sums
        if bias_V is not None:
            bias_V += grad_CV.sum(0)
        grad_CV = grad_CV.to(hidden_CH.dtype)
        if hidden_NH is not None:
            hidden_NH[rows] = grad_CV @ weight_VH
        if weight_sum_VH is None:
            return
        if weight_sum_VH.dtype == grad_CV.dtype:
            weight_sum_VH.addmm_(grad_CV.T, hidden_CH)
        else:
            weight_sum_VH += grad_CV.T @ hidden_CH

    def rescale(self, slopes_N: torch.Tensor) -> bool:
        """Turn them into those of `slopes_N`, if these are the ones made with, times a number."""
        before_N = torch.cat(self.slopes) if self.slopes else slopes_N.new_zeros(0)
        if not before_N.any():
            return not slopes_N.any()
        largest = before_N.abs().argmax()
        factor = slopes_N[largest] / before_N[largest]
        near = 8 * torch.finfo(before_N.dtype).eps
        if not torch.allclose(slopes_N.to(before_N.dtype), before_N * factor, rtol=near, atol=0):
            return False
        if factor != 1:
            for made in self.sums:
                if made is not None:
                    made *= factor
        return True

    def results(self) -> list[torch.Tensor | None]:
        """In the dtypes of the inputs; they are not kept here."""
        sums, self.sums = self.sums, []
        pairs = zip(sums, self._dtypes, strict=True)
        return [None if made is None else made.to(dtype) for made, dtype in pairs]


@dataclass(frozen=True, slots=True)
class _Softmax:
    """Sweeps over the tokens, with the logits of one chunk at a time.

    Attributes:
        layer: only its scale and cap: its tensors go through autograd.
        targets_N: see target_logprobs.
        chunk: tokens whose logits exist at once.
        dtype: of the matrix products.
    """

    layer: OutputLayer
    targets_N: torch.Tensor
    chunk: int
    dtype: torch.dtype

    @property
    def wide(self) -> torch.dtype:
        """The dtype of everything but the matrix products."""
        return torch.promote_types(self.dtype, torch.float32)

    def sweep(
        self,
        hidden_NH: torch.Tensor,
        weight_VH: torch.Tensor,
        bias_V: torch.Tensor | None,
        slopes: Slopes | None = None,
        gradients: _Gradients | None = None,
    ) -> torch.Tensor:
        """Log-probs of the targets; with `slopes`, what they give is added to `gradients`."""
        logprobs_N = torch.empty(len(self.targets_N), dtype=self.wide, device=hidden_NH.device)
        with torch.autocast(hidden_NH.device.type, enabled=False):
            weight_VH = weight_VH.to(self.dtype)
            bias_V = None if bias_V is None else bias_V.to(self.dtype)
            for first in range(0, len(self.targets_N), self.chunk):
                rows = slice(first, first + self.chunk)
                hidden_CH = hidden_NH[rows].to(self.dtype)
                logits_CV = self._logits(hidden_CH, weight_VH, bias_V)
                bends_CV = None
                if gradients is not None and self.layer.cap is not None:
                    bends_CV = 1 - (logits_CV / self.layer.cap) ** 2
                targets_C1 = self.targets_N[rows, None]
                logits_CV -= logits_CV.amax(1, keepdim=True)
                chosen_C1 = logits_CV.gather(1, targets_C1)
                mass_CV = logits_CV.exp_()
                total_C1 = mass_CV.sum(1, keepdim=True)
                logprobs_N[rows] = (chosen_C1 - total_C1.log()).squeeze(1)
                if slopes is None or gradients is None:
                    continue
                slopes_C1 = slopes(logprobs_N[rows], rows).to(self.wide)[:, None]
                grad_CV = mass_CV.mul_(-slopes_C1 / total_C1)
                grad_CV.scatter_add_(1, targets_C1, slopes_C1)
                if self.layer.scale != 1:
                    grad_CV *= self.layer.scale
                if bends_CV is not None:
                    grad_CV *= bends_CV
                gradients.slopes.append(slopes_C1.squeeze(1))
                gradients.add(rows, grad_CV, hidden_CH, weight_VH)
        return logprobs_N

    def _logits(
        self, hidden_CH: torch.Tensor, weight_VH: torch.Tensor, bias_V: torch.Tensor | None
    ) -> torch.Tensor:
        logits_CV = torch.nn.functional.linear(hidden_CH, weight_VH, bias_V).to(self.wide)
        if self.layer.scale != 1:
            logits_CV *= self.layer.scale
        if self.layer.cap is not None:
            logits_CV.div_(self.layer.cap).tanh_().mul_(self.layer.cap)
        return logits_CV


def _product_dtype(hidden: torch.Tensor) -> torch.dtype:
    """That of a linear layer at this place: autocast's, where one is on (never for float64)."""
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind) and hidden.dtype != torch.float64:
        found: torch.dtype = torch.get_autocast_dtype(kind)
        return found
    return hidden.dtype
