"""One sweep over the tokens: log-probs of the targets, and all gradients once slopes are known.

For a token with logits z, p = softmax(z) and target y, the gradient of log p_y by z is
onehot_y - p. So when a loss has slope g by log p_y, its gradient by z is g · (onehot_y - p): it is
made in the memory of z, and used up before the next tokens' logits are made.
"""

# ruff: noqa: N803, N806, N815 - shape letters end a tensor's name: docs/notation.md

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import torch

Slopes: TypeAlias = Callable[[torch.Tensor, slice], torch.Tensor]
"""The gradient of a loss by some tokens' log-probs, from these log-probs and where they stand."""

MIXED_WORDS: Final = 16384
"""Vocabulary entries at a time where products are in a narrower dtype than sums: such a product
is an array of its own before it is added, and this keeps it small beside W."""


class Gradients:
    """The gradients by hidden states, weight and bias: added up over chunks, in float32 at least.

    Attributes:
        wide: the dtype of the sums.
        sums: [N, H], [V, H] and [V]; None where none is wanted.
    """

    def __init__(
        self,
        inputs: tuple[torch.Tensor | None, ...],
        wanted: tuple[bool, ...],
        wide: torch.dtype,
        slopes: Slopes,
    ) -> None:
        self.wide = wide
        self.sums = [
            torch.zeros_like(tensor, dtype=wide) if want and tensor is not None else None
            for tensor, want in zip(inputs, wanted, strict=True)
        ]
        self._dtypes = [None if tensor is None else tensor.dtype for tensor in inputs]
        self._slopes = slopes
        self._slopes_made: list[torch.Tensor] = []

    def slopes(self, logprobs_C: torch.Tensor, rows: slice) -> torch.Tensor:
        """The gradient by the log-probs of a chunk."""
        self._slopes_made.append(self._slopes(logprobs_C, rows).to(self.wide))
        return self._slopes_made[-1]

    def add(
        self, rows: slice, grad_CV: torch.Tensor, hidden_CH: torch.Tensor, weight_VH: torch.Tensor
    ) -> None:
        """Add what a chunk gives, from the gradient by hidden Wᵀ + bias."""
        hidden_sum_NH, weight_sum_VH, bias_sum_V = self.sums
        if bias_sum_V is not None:
            bias_sum_V += grad_CV.sum(0)
        narrow = hidden_CH.dtype
        step = len(weight_VH) if narrow == self.wide else MIXED_WORDS
        for first in range(0, len(weight_VH), step):
            words = slice(first, first + step)
            piece_CV = grad_CV[:, words].to(narrow)
            if hidden_sum_NH is not None:
                _add_product(hidden_sum_NH[rows], piece_CV, weight_VH[words])
            if weight_sum_VH is not None:
                _add_product(weight_sum_VH[words], piece_CV.T, hidden_CH)

    def rescale(self, slopes_N: torch.Tensor) -> bool:
        """Turn them into those of `slopes_N`, if these are the slopes made with, times a number."""
        slopes_N = slopes_N.to(self.wide)
        before_N = torch.cat([*self._slopes_made, slopes_N[:0]])
        if not before_N.any():
            return not slopes_N.any()
        largest = before_N.abs().argmax()
        factor = slopes_N[largest] / before_N[largest]
        near = 8 * torch.finfo(self.wide).eps
        if not torch.allclose(slopes_N, before_N * factor, rtol=near, atol=0):
            return False
        if factor != 1:
            for made in self.sums:
                if made is not None:
                    made.mul_(factor)
        return True

    def results(self) -> list[torch.Tensor | None]:
        """In the dtypes of the inputs."""
        pairs = zip(self.sums, self._dtypes, strict=True)
        return [None if made is None else made.to(dtype) for made, dtype in pairs]


def _add_product(sums: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    if sums.dtype == left.dtype:
        sums.addmm_(left, right)  # without an array for the product
    else:
        sums += left @ right


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax:
    """Sweeps over the tokens, with the logits of one chunk at a time.

    Attributes:
        targets_N: see target_logprobs.
        scale: see OutputLayer.
        cap: see OutputLayer.
        chunk: tokens whose logits exist at once.
        dtype: of the matrix products.
    """

    targets_N: torch.Tensor
    scale: float
    cap: float | None
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
        gradients: Gradients | None,
    ) -> torch.Tensor:
        """Log-probs of the targets; what they give is added to `gradients`."""
        logprobs_N = torch.empty(len(self.targets_N), dtype=self.wide, device=hidden_NH.device)
        with torch.autocast(hidden_NH.device.type, enabled=False):
            weight_VH = weight_VH.to(self.dtype)
            bias_V = None if bias_V is None else bias_V.to(self.dtype)
            for first in range(0, len(self.targets_N), self.chunk):
                rows = slice(first, first + self.chunk)
                hidden_CH = hidden_NH[rows].to(self.dtype)
                logits_CV = self._logits(hidden_CH, weight_VH, bias_V)
                logprobs_N[rows], grad_CV = self._softmax(logits_CV, rows, gradients)
                del logits_CV  # its memory is grad_CV's
                if gradients is not None:
                    gradients.add(rows, grad_CV, hidden_CH, weight_VH)
                del grad_CV  # before the next logits are made
        return logprobs_N

    def _logits(
        self, hidden_CH: torch.Tensor, weight_VH: torch.Tensor, bias_V: torch.Tensor | None
    ) -> torch.Tensor:
        logits_CV = torch.nn.functional.linear(hidden_CH, weight_VH, bias_V).to(self.wide)
        if self.scale != 1:
            logits_CV *= self.scale
        if self.cap is not None:
            logits_CV.div_(self.cap).tanh_().mul_(self.cap)
        return logits_CV

    def _softmax(
        self, logits_CV: torch.Tensor, rows: slice, gradients: Gradients | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probs of a chunk, and slope · (onehot - p) down to the product, over the logits."""
        bends_CV = None
        if gradients is not None and self.cap is not None:
            bends_CV = 1 - (logits_CV / self.cap) ** 2
        targets_C1 = self.targets_N[rows, None]
        logits_CV -= logits_CV.amax(1, keepdim=True)
        chosen_C1 = logits_CV.gather(1, targets_C1)
        mass_CV = logits_CV.exp_()
        total_C1 = mass_CV.sum(1, keepdim=True)
        logprobs_C = (chosen_C1 - total_C1.log()).squeeze(1)
        if gradients is None:
            return logprobs_C, mass_CV
        slopes_C1 = gradients.slopes(logprobs_C, rows)[:, None]
        grad_CV = mass_CV.mul_(slopes_C1 / -total_C1).scatter_add_(1, targets_C1, slopes_C1)
        if self.scale != 1:
            grad_CV *= self.scale
        if bends_CV is not None:
            grad_CV *= bends_CV
        return logprobs_C, grad_CV
