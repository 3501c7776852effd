"""Run the experiment and write what came out.

python -m benchmarks.paper --seeds 0 1 2
"""

import argparse
import os
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
WORK: Final = Path(".paper")
os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

from benchmarks.paper.plan import Seed  # noqa: E402 - the environment comes first
from benchmarks.paper.schedule import run_all  # noqa: E402
from benchmarks.paper.sizes import SIZES  # noqa: E402
from examples.arithmetic.stages import Runner  # noqa: E402


def main() -> None:
    """Run what is not done."""
    parser = argparse.ArgumentParser(description="The paper's claims, put to the test.")
    parser.add_argument("--size", choices=sorted(SIZES), default="full")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--workers", type=int, default=2, help="processes side by side")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    size = SIZES[arguments.size]
    runner = Runner(WORK / size.name / "stages")
    seeds = [
        Seed(size=size, seed=seed, folder=WORK / size.name / f"seed-{seed}")
        for seed in arguments.seeds
    ]
    run_all([node for seed in seeds for node in seed.nodes()], runner, workers=arguments.workers)


if __name__ == "__main__":
    main()
