"""The smallest case in which the paper's update runs away, against other derivations."""

import numpy as np
import torch

from benchmarks.paper import toy


def test_the_papers_update_descends_its_own_aim_into_a_token_that_the_teacher_never_says() -> None:
    before, after = toy.REFERENCE, toy.follow(steps=3000)
    assert after[2] > 0.9
    assert toy.half_square(after) < toy.half_square(before)
    assert toy.kl(after) > 2 * toy.kl(before)


def test_the_weighted_update_ends_at_the_geometric_mean_of_the_teachers_states() -> None:
    mean = np.sqrt(toy.TEACHER.prod(axis=0))
    found = toy.follow(steps=20_000, weighted=True)
    np.testing.assert_allclose(found, mean / mean.sum(), rtol=1e-6)


def test_the_papers_update_is_the_gradient_of_half_the_squared_gap() -> None:
    logits = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64, requires_grad=True)
    gaps = torch.from_numpy(np.log(toy.TEACHER)) - logits.log_softmax(0)
    (torch.from_numpy(toy.REFERENCE) * gaps**2 / 2).sum(1).mean().backward()
    found = toy.update(logits.detach().numpy(), weighted=False, centred=False)
    assert logits.grad is not None
    np.testing.assert_allclose(found, -logits.grad.numpy(), atol=1e-12)


def test_the_weighted_update_is_the_gradient_of_the_divergence() -> None:
    logits = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64, requires_grad=True)
    policy = logits.log_softmax(0)
    (policy.exp() * (policy - torch.from_numpy(np.log(toy.TEACHER)))).sum(1).mean().backward()
    found = toy.update(logits.detach().numpy(), weighted=True, centred=False)
    assert logits.grad is not None
    np.testing.assert_allclose(found, -logits.grad.numpy(), atol=1e-12)
