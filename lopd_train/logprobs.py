"""Log-probs of chosen tokens, from the hidden states and the output layer of a causal LM.

Logits are made for some tokens at a time and dropped, so an array of [tokens, vocabulary] never
exists, neither forward nor backward.
"""

# ruff: noqa: N803, N806, N815 - shape letters end a tensor's name: docs/notation.md

from dataclasses import dataclass
from typing import Any, Final

import torch

from lopd_store.errors import UsageError
from lopd_train.softmax import Gradients, Slopes, Softmax

CHUNK_LOGITS: Final = 1024 * 151_936
"""593 MiB in float32. Fewer cost time, more cost memory: see benchmarks/loss_memory.py."""


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
        chunk: tokens whose logits exist at once; None for 593 MiB of float32.

    Raises:
        UsageError: a target outside the vocabulary.
    """
    vocabulary = layer.weight_VH.shape[0]
    if len(targets_N) and not 0 <= int(targets_N.min()) <= int(targets_N.max()) < vocabulary:
        raise UsageError(
            f"expected targets in [0, {vocabulary}), found"
            f" {int(targets_N.min())} to {int(targets_N.max())}"
        )
    softmax = Softmax(
        targets_N=targets_N,
        scale=layer.scale,
        cap=layer.cap,
        chunk=chunk or max(1, CHUNK_LOGITS // vocabulary),
        dtype=_product_dtype(hidden_NH),
    )
    found_N: torch.Tensor = _TargetLogprobs.apply(
        hidden_NH,
        layer.weight_VH,
        layer.bias_V,
        softmax,
        slopes if torch.is_grad_enabled() else None,
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
        softmax: Softmax,
        slopes: Slopes | None,
    ) -> torch.Tensor:
        tensors = (hidden_NH, weight_VH, bias_V)
        ctx.save_for_backward(*tensors)
        ctx.softmax = softmax
        ctx.made = slopes and Gradients(tensors, ctx.needs_input_grad[:3], softmax.wide, slopes)
        return softmax.sweep(*tensors, ctx.made)

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, slopes_N: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        tensors = ctx.saved_tensors
        made, ctx.made = ctx.made, None  # kept, they would have to be copied
        if made is None or not made.rescale(slopes_N):
            made = Gradients(
                tensors,
                ctx.needs_input_grad[:3],
                ctx.softmax.wide,
                lambda _, rows: slopes_N[rows],
            )
            ctx.softmax.sweep(*tensors, made)
        return *made.results(), None, None


def _product_dtype(hidden: torch.Tensor) -> torch.dtype:
    """That of a linear layer at this place: autocast's, where one is on (never for float64)."""
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind) and hidden.dtype != torch.float64:
        found: torch.dtype = torch.get_autocast_dtype(kind)
        return found
    return hidden.dtype
