"""The smallest case in which the paper's update runs away: three tokens, two states, no noise.

python -m benchmarks.paper.toy

The teacher says `a` in one state and `b` in the other. The student cannot tell the two apart, so
it has one distribution for both, and the best it can do is a half each. Token `c` is a mistake that
it made now and then when it was sampled. Updates are the exact expectations, followed for long.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

REFERENCE: Final = np.array([0.495, 0.495, 0.01])
TEACHER: Final = np.array([[0.998, 0.001, 0.001], [0.001, 0.998, 0.001]])
RATE: Final = 0.05


def update(logits: Floats, *, weighted: bool, centred: bool) -> Floats:
    """The expected ascent direction of the logits, over both states and all tokens."""
    policy = softmax(logits)
    advantages = np.log(TEACHER) - np.log(policy)
    if centred:
        advantages = advantages - (REFERENCE * advantages).sum() / len(TEACHER)
    often = policy if weighted else REFERENCE
    pulls = (often * advantages).mean(axis=0)
    found: Floats = pulls - pulls.sum() * policy  # the gradient of log π is one-hot less π
    return found


def follow(*, steps: int, weighted: bool = False, centred: bool = False) -> Floats:
    """The distribution after so many steps from the reference."""
    logits: Floats = np.log(REFERENCE)
    for _ in range(steps):
        logits = logits + RATE * update(logits, weighted=weighted, centred=centred)
    return softmax(logits)


def half_square(policy: Floats) -> float:
    """The mean of A²/2 over the reference's tokens: what the paper's update descends."""
    gaps = np.log(TEACHER) - np.log(policy)
    return float((REFERENCE * gaps**2 / 2).sum(axis=1).mean())


def kl(policy: Floats) -> float:
    """KL(policy ‖ teacher), the mean of both states: what online OPD descends."""
    return float((policy * (np.log(policy) - np.log(TEACHER))).sum(axis=1).mean())


def softmax(logits: Floats) -> Floats:
    """Probabilities."""
    powers = np.exp(logits - logits.max())
    found: Floats = powers / powers.sum()
    return found


def table(steps: int = 2000) -> str:
    """What becomes of the mistake."""
    ways = {
        "at the start": REFERENCE,
        "the paper's update": follow(steps=steps),
        "centred": follow(steps=steps, centred=True),
        "weighted, as online": follow(steps=steps, weighted=True),
    }
    lines = ["| | a | b | c | mean ½A² | KL to the teacher |", "|---|---:|---:|---:|---:|---:|"]
    for name, policy in ways.items():
        cells = [f"{share:.3f}" for share in policy]
        cells += [f"{half_square(policy):.2f}", f"{kl(policy):.2f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
