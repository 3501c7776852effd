"""Results nobody measured, to see what tables and pictures make of them."""

from typing import Any

from benchmarks.paper.exact import METHODS
from benchmarks.paper.methods import LOSSES
from benchmarks.paper.plan import MORE_SFT
from benchmarks.paper.results import Results
from benchmarks.paper.sweep import PAIRS

LOOK = {
    "cpu_seconds": 1.0, "kl": 0.5, "leaked": 0.01, "wrong": 0.02, "sampled_logprob": -0.2,
    "mean_advantage": -0.3, "half_square": 1.5, "log_ratio_std": 0.25, "ratio_mean": 1.0,
    "sequence_ess": 0.4, "token_ess": 0.9, "kl_rollout": 0.01,
}  # fmt: skip
RATES = (1e-5, 1e-4)


def answer(method: str, student: str, teacher: str, rate: float, right: int) -> dict[str, Any]:
    looks = [LOOK | {"step": 0, "accuracy": 0.5}, LOOK | {"step": 2, "accuracy": right / 10}]
    spent = {"training": 6.0} | ({"rollouts": 10.0, "scoring": 8.0} if method == "online" else {})
    return {
        "method": method, "student": student, "teacher": teacher, "rate": rate,
        "final": {"correct": right, "total": 10}, "cpu_seconds": spent, "warned": 7,
        "diverged": None, "looks": looks, "gate": [],
    }  # fmt: skip


def seed(number: int, *, right: int) -> dict[str, Any]:
    accuracy = {f"{who} {name}": {"correct": 5, "total": 10}
                for who in ("teacher", "student") for name in ("A", "B", "M", "A+")}  # fmt: skip
    accuracy["base"] = {"correct": 0, "total": 10}
    delta = {"mean_abs": 0.25, "std": 0.7, "over_one_nat": 0.1, "sigma": 9.0}
    none = dict.fromkeys(delta, 0.0)
    distances = {f"{s} {t}": none if s == t else delta for s in ("A", "B") for t in ("A", "B", "M")}
    found: dict[str, Any] = {
        "seed": number,
        "standing": {"accuracy": accuracy, "starts": {}, "distances": distances},
        "cost": {
            "store": {"rollouts": 20.0, "scoring": 16.0},
            "online": {"rollouts": 10.0, "scoring": 8.0, "training": 6.0},
            **{name: {"training": 6.0} for name in ("paper", "weighted", "centred")},
        },
    }
    found["exact"] = [answer(method, "A", "A", 1e-4, right) for method in METHODS]
    for method in (*LOSSES, MORE_SFT):
        for student in ("A", "A+"):
            found[f"rates-{method}-{student}"] = [
                answer(method, student, "A", rate, right - place)
                for place, rate in enumerate(RATES)
            ]
        for stage in ("pairs", "common"):
            found[f"{stage}-{method}"] = [answer(method, *pair, 1e-5, 3) for pair in PAIRS]
    return found


def results() -> Results:
    size = {"rates": list(RATES)}
    return Results(
        {"size": size, "seeds": [seed(n, right=right) for n, right in enumerate((6, 7, 8))]}
    )
