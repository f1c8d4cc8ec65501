# make run and make test work from a clean clone with python3 >= 3.11 (with venv) and make alone.
PYTHON ?= python3
# Several Pythons side by side: make VENV=.venv-3.13 PYTHON=python3.13 test
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: run test check bench docs clean lock

run: $(STAMP)
	$(BIN)/hhtui --demo

test: $(STAMP) check
	$(BIN)/python -m pytest -n 4 --dist loadgroup $(PYTEST_ARGS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(STAMP)
	$(BIN)/python -m benchmarks

docs: $(STAMP)
	$(BIN)/python docs/generate.py

lock: $(STAMP)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	  --extra uv --extra web --group dev --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) .bench .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "hhtui needs Python 3.11 or newer: install it, or say make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "Python's venv module is missing: sudo apt install python3-venv"; exit 1; }
	@echo "Preparing $(VENV) (once; takes a minute or two on a Pi) ..."
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock \
	  || { echo "hhtui: its packages could not be fetched, see above; the first make needs a network: connect, make again" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)
