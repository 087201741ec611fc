# make setup | reproduce | grid | test | test-slurm | stress | benchmark | lab | notebooks | numbers
# From a bare checkout: python3, make and git are enough.

PYTHON ?= python3
PROTOCOL ?= quick
CRACKS ?= synthetic
ROADS ?= synthetic
DEVICE ?= auto
PARAMETERS ?=
KILLS ?= 25

# What a user gives reaches the programs as it was written: `value` keeps make from expanding a `$`
# in it, and it goes through the environment, so that no quote in it ends a quotation of the shell.
override PROTOCOL := $(value PROTOCOL)
override CRACKS := $(value CRACKS)
override ROADS := $(value ROADS)
override DEVICE := $(value DEVICE)
override RUNS := $(value RUNS)
override PARAMETERS := $(value PARAMETERS)
override KILLS := $(value KILLS)
export PROTOCOL CRACKS ROADS DEVICE RUNS PARAMETERS KILLS

# nothing that is started from here looks for newer versions on the network
export NO_ALBUMENTATIONS_UPDATE = 1
BIN := .venv/bin

.PHONY: setup reproduce grid test test-slurm stress benchmark lab notebooks numbers
setup: .venv/installed

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode -r requirements.txt -e .
	touch $@

# reproduce trains what has no complete record in RUNS (default: runs/), and never uses results/;
# grid trains paper A's 17 settings with each of its four networks
reproduce grid: setup
	$(BIN)/snakemake $@ --cores all --keep-going --rerun-incomplete --quiet rules host

# two files of tests, or two notebooks, at a time, with a thread each
test: setup
	$(BIN)/ruff check .
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --durations=5 --ignore tests/stress tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --nbval --nbval-current-env notebooks

# the Snakefile through a Slurm of one node, which is installed here; needs root, Debian or Ubuntu
test-slurm: setup
	tests/slurm/one_node.sh install
	tests/slurm/one_node.sh start
	$(BIN)/pytest -v tests/slurm; status=$$?; tests/slurm/one_node.sh stop; exit $$status

# what is too long for `make test`: kill -9, full disks, little memory, all notebooks in a browser;
# KILLS=4 for a short one
stress: setup
	rm -f runs/stress/kills.csv
	$(BIN)/pytest -v tests/stress

# speed, side by side with what a user would pick instead; Keras in an environment of its own
benchmark: setup .venv-peers/installed
	$(BIN)/python benchmarks/thresholds.py
	$(BIN)/python benchmarks/training.py --keras-python .venv-peers/bin/python
	$(BIN)/python benchmarks/precision.py
	$(BIN)/python benchmarks/doctor.py
	$(BIN)/python benchmarks/decoding.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python -m workflow.numbers

.venv-peers/installed: benchmarks/requirements.txt
	$(PYTHON) -m venv .venv-peers
	$(BIN)/uv pip install --python .venv-peers/bin/python -r benchmarks/requirements.txt
	touch $@

lab: setup
	$(BIN)/jupyter lab notebooks

# for maintainers: execute the committed notebooks anew; compute the measured numbers in README.md
# and docs/ anew from results/
notebooks: setup
	rm -rf runs/smoke
	PYTHONWARNINGS=ignore TQDM_DISABLE=1 $(BIN)/jupyter nbconvert --to notebook --execute --inplace notebooks/*.ipynb
	$(BIN)/nbstripout --keep-output --keep-count notebooks/*.ipynb

numbers: setup
	$(BIN)/python -m workflow.numbers
