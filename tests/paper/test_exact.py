"""Expected updates against autograd of what they are said to descend."""

# ruff: noqa: N806 - shape letters end a tensor's name

import math

import torch

from benchmarks.paper.exact import expected_loss


def gradients(often: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the expected loss, and of the textbook objective it stands for."""
    source = torch.Generator().manual_seed(0)
    logits_NV = torch.randn(4, 5, generator=source, dtype=torch.float64, requires_grad=True)
    teacher_NV = torch.randn(4, 5, generator=source, dtype=torch.float64).log_softmax(-1)
    reference_NV = torch.randn(4, 5, generator=source, dtype=torch.float64).softmax(-1)
    weights_N = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    policy_NV = logits_NV.log_softmax(-1)
    expected_NV = policy_NV.detach().exp() if often == "policy" else reference_NV
    loss = expected_loss(policy_NV, teacher_NV, expected_NV, weights_N, clip=math.inf)
    if often == "policy":
        wanted_N = (policy_NV.exp() * (policy_NV - teacher_NV)).sum(-1)
    else:
        wanted_N = (reference_NV * (teacher_NV - policy_NV) ** 2 / 2).sum(-1)
    wanted = (weights_N * wanted_N).sum()
    (found_NV,) = torch.autograd.grad(loss, logits_NV, retain_graph=True)
    (wanted_NV,) = torch.autograd.grad(wanted, logits_NV)
    return found_NV, wanted_NV


def test_expected_over_the_policys_tokens_it_descends_the_divergence() -> None:
    torch.testing.assert_close(*gradients("policy"))


def test_expected_over_the_starts_tokens_it_descends_half_the_squared_gap() -> None:
    torch.testing.assert_close(*gradients("reference"))
