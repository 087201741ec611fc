# make setup | reproduce | test | lab | notebooks | readme     (from a bare checkout: python3, make and git are enough)

PYTHON ?= python3
PROTOCOL ?= quick
CRACKS ?= synthetic
ROADS ?= synthetic
DEVICE ?= auto
RUNS ?= runs
PARAMETERS ?=

# no look at a hub for newer versions, and no telemetry, in anything started from here
export NO_ALBUMENTATIONS_UPDATE = 1
BIN := .venv/bin

.PHONY: setup reproduce test lab notebooks readme
setup: .venv/installed

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --compile-bytecode -r requirements.txt -e .
	touch $@

# trains what has no complete record in RUNS; never looks at results/
reproduce: setup
	$(BIN)/python -m crackutils.batch --protocol "$(PROTOCOL)" --cracks "$(CRACKS)" \
		--roads "$(ROADS)" --device "$(DEVICE)" --runs "$(RUNS)" --parameters "$(PARAMETERS)"

test: setup
	$(BIN)/ruff check .
	$(BIN)/pytest --durations=5 tests
	$(BIN)/pytest --nbval --nbval-current-env notebooks

lab: setup
	$(BIN)/jupyter lab notebooks

# for maintainers: execute the committed notebooks anew, and compute the README's numbers anew
notebooks: setup
	rm -rf runs/smoke
	PYTHONWARNINGS=ignore $(BIN)/jupyter nbconvert --to notebook --execute --inplace notebooks/*.ipynb
	$(BIN)/nbstripout --keep-output --keep-count notebooks/*.ipynb

readme: setup
	$(BIN)/python -m crackutils.readme
