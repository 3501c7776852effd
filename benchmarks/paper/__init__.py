"""The paper's claims, put to the test on small models from scratch; `docs/paper.md` reports.

python -m benchmarks.paper --seeds 0 1 2
"""
