# `make` lists the targets. The first that needs it builds .venv from constraints.txt, and again when that changes.

PYTHON ?= python3
VENV ?= .venv
# Which build of torch: by default the one that pip finds, on Linux the CUDA build. For another one, say where it is:
#     make test TORCH_FLAGS="--index-url <PyTorch's index of the CPU build>"
TORCH_FLAGS ?=
PYTEST_FLAGS ?= -n 2
DEMO_FLAGS ?=
BENCH_FLAGS ?=

# One thread a process: two processes with two threads each fight over the cores.
export OMP_NUM_THREADS ?= 1

BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --progress-bar off --quiet -c constraints.txt
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test check fix bench build clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*##  *\(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'

demo: $(INSTALLED)  ## train MV-Adapter on rendered clips, from video files, in minutes and offline
	$(BIN)/mv-peft demo $(DEMO_FLAGS)

test: $(INSTALLED)  ## run the tests (PYTEST_FLAGS="-n 0 -k sampling" for some, in one process)
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

check: $(INSTALLED)  ## style, types, and who imports whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

fix: $(INSTALLED)  ## mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(INSTALLED)  ## time MV-Adapter beside LoRA and full fine-tuning (BENCH_FLAGS="--size tiny")
	$(BIN)/python -m benchmarks.speed $(BENCH_FLAGS)

build: $(INSTALLED)  ## make dist/: source distribution and wheel
	$(BIN)/python -m build --no-isolation

clean:  ## remove dist and caches; .venv, clips and adapters stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage* htmlcov
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first and alone: a range that this version satisfies then installs nothing more.
$(INSTALLED): pyproject.toml constraints.txt Makefile tests/fetch_peft_tests.py
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) $(TORCH_FLAGS) "$$(grep '^torch==' constraints.txt)"
	$(INSTALL) --editable ".[dev,decord]"
	$(BIN)/python tests/fetch_peft_tests.py $(VENV)/peft-sdist
	touch $@
