# make setup | demo | test | test-slurm | check | bench. Everything is installed into .venv; running a target again is quick.

PYTHON ?= python3
SIZE ?= short
BIN := .venv/bin
GRID := experiments/grids/$(if $(filter long,$(SIZE)),demo_long,demo).yaml

# One thread a process: at these sizes two threads in a process are slower than one, and runs go side by side.
export OMP_NUM_THREADS ?= 1

.PHONY: setup demo test test-slurm check bench

setup: .venv/installed

.venv/installed: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	@case "$(SIZE)" in short|long) ;; *) echo "SIZE is '$(SIZE)'; expected short or long"; exit 1;; esac
	$(BIN)/hallo3 synthesize data/tiny
	$(BIN)/hallo3 ablate $(GRID)
	$(BIN)/hallo3 compare $(GRID)
	$(BIN)/hallo3 report $(GRID)

test: setup
	$(BIN)/pytest --numprocesses 2

# Jobs on a real SLURM of two nodes on this machine; installs its Debian packages, and stops what it starts.
test-slurm: setup
	BIN=$(BIN) tests/slurm/run

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done
