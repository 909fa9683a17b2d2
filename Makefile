# Everything on a fresh machine: Python >= 3.11, make and pip are all it takes.
#   make demo    set up, then the whole job on painted photos, from inspect to report
#   make seven   set up, then the notebooks' seven backbones on painted photos, down to the ensemble's report
#   make test    set up, then lint, types, import contracts and tests
#   make format  put the code in order
#   make clean   remove the environment and what the demo made

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo seven test format clean

demo: $(VENV)/.demo
	$(BIN)/allmasked demo --out demo

seven: $(VENV)/.demo
	PATH="$$(pwd)/$(BIN):$$PATH" sh scripts/seven seven

test: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.demo: pyproject.toml constraints.txt scripts/environment
	PYTHON="$(PYTHON)" sh scripts/environment "$(VENV)" train,synth
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt scripts/environment
	PYTHON="$(PYTHON)" sh scripts/environment "$(VENV)" dev
	touch $@ $(VENV)/.demo

clean:
	rm -rf "$(VENV)" demo seven
