# Everything runs in a virtual environment that is made on first use.
#   make demo    train the tutorial's network on MNIST, live
#   make test    all tests, with coverage
#   make lint    ruff and the import contracts
#   make types   mypy --strict
#   make bench   the measurements of docs/performance.md, side by side
#   make soak    kill a training at 200 random moments, start it again, and compare

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
# Processes of the tests: all cores.
JOBS ?= auto

.PHONY: demo test lint types bench soak format clean

demo: $(VENV)/.user
	$(BIN)/callboard demo $(ARGS)

# JAX has threads from its import on, so what forks is tested in other processes; trackers change
# other libraries when they are imported. Keras has one backend in a process.
APART := tests/bridges tests/contracts tests/jax tests/keras tests/callbacks/test_orbax_checkpoint.py \
	src/callboard/bridges src/callboard/jax src/callboard/keras
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --doctest-modules --durations=10
COVERED = $(PYTEST) --cov --cov-append --cov-report= --cov-fail-under=0

test: $(VENV)/.dev
	$(BIN)/python -m coverage erase
	$(COVERED) $(APART:%=--ignore=%) $(ARGS)
	$(COVERED) $(APART)
	KERAS_BACKEND=jax $(PYTEST) tests/keras
	KERAS_BACKEND=tensorflow $(PYTEST) tests/keras
	$(BIN)/python -m coverage report

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/run.py $(ARGS)

soak: $(VENV)/.dev
	$(BIN)/python tests/faults/soak.py $(ARGS)

format: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
		{ echo "callboard needs Python 3.11 or newer; set PYTHON=python3.x" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.user: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable ".[all]"
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --editable ".[dev]"
	@touch $@
