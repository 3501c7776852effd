"""Run the experiment and show what came out.

python -m benchmarks.paper --seeds 0 1 2 --publish
"""

import argparse
import os
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
WORK: Final = Path(".paper")
RESULTS: Final = Path("benchmarks/results/paper.json")
PAGE: Final = Path("docs/paper.md")
os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

from benchmarks.paper import page, pictures, results  # noqa: E402 - the environment comes first
from benchmarks.paper.plan import Seed  # noqa: E402
from benchmarks.paper.schedule import run_all  # noqa: E402
from benchmarks.paper.sizes import SIZES  # noqa: E402
from benchmarks.paper.tables import tables  # noqa: E402
from examples.arithmetic.stages import Runner  # noqa: E402


def main() -> None:
    """Run what is not done, then print the tables."""
    parser = argparse.ArgumentParser(description="The paper's claims, put to the test.")
    parser.add_argument("--size", choices=sorted(SIZES), default="full")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--workers", type=int, default=2, help="processes side by side")
    parser.add_argument(
        "--publish", action="store_true", help=f"write {RESULTS}, and from it {PAGE}'s tables"
    )
    arguments = parser.parse_args()
    os.chdir(ROOT)
    size = SIZES[arguments.size]
    seeds = [
        Seed(
            size=size,
            seed=seed,
            folder=WORK / size.name / f"seed-{seed}",
            timed=seed == arguments.seeds[0],
        )
        for seed in arguments.seeds
    ]
    runner = Runner(WORK / size.name / "stages")
    run_all([node for seed in seeds for node in seed.nodes()], runner, workers=arguments.workers)
    found = results.gather(seeds)
    results.write(found, WORK / size.name / "paper.json")
    pictures.draw(found, WORK / size.name)
    for name, table in tables(found).items():
        print(f"\n{name}\n\n{table}")
    if arguments.publish:
        results.write(found, RESULTS)
        publish(results.read(RESULTS))


def publish(found: results.Results) -> None:
    """Bring the page and its pictures up to date."""
    page.refresh(PAGE, tables(found))
    pictures.draw(found, PAGE.with_suffix(""))


if __name__ == "__main__":
    main()
