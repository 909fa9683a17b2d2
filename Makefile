# Everything on a fresh machine: Python >= 3.11, make and pip are all it takes.
#   make demo    set up, then the whole job on painted photos, from inspect to report
#   make seven   set up, then the notebooks' seven backbones on painted photos, down to the ensemble's report
#   make test    set up, then lint, types, import contracts, the audit and tests
#   make docs    set up, then the documentation as a site, below site/: open site/index.html
#   make format  put the code in order
#   make cover   set up, then the tests once more, with how much of the code they reach
#   make audit   set up, then look every package of constraints.txt up among known vulnerabilities (needs the network)
#   make release  set up, then build wheel and source archive twice, install each extra from the wheel, let it work, and
#                list what is in it, in dist/; make release PYTHONS=python3.11,python3.12 for several Pythons
#   make lock    pin what pyproject.toml asks for in constraints.txt, keeping the pins that still fit;
#                make lock UPGRADE=--upgrade takes the newest of everything
#   make clean   remove the environment and what the others made

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo seven test docs format cover audit release lock clean

demo: $(VENV)/.demo
	$(BIN)/allmasked demo --out demo

seven: $(VENV)/.demo
	PATH="$$(pwd)/$(BIN):$$PATH" sh scripts/seven seven

test: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/audit.py
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=20

cover: $(VENV)/.dev
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --cov=allmasked --cov-branch --cov-report=term:skip-covered

audit: $(VENV)/.dev
	$(BIN)/python scripts/audit.py

release: $(VENV)/.dev
	$(BIN)/python scripts/release.py dist --source --pythons "$(or $(PYTHONS),$(PYTHON))"

lock: $(VENV)/.dev
	$(BIN)/uv pip compile --universal --python-version 3.11 --extra dev --annotation-style line --quiet $(UPGRADE) \
	    --custom-compile-command "make lock" --output-file constraints.txt pyproject.toml

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

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
	rm -rf "$(VENV)" demo seven site
