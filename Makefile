# One command each, from a fresh clone. Everything is installed into .venv; delete it to start again.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: run test lint format docs bench clean

run: $(VENV)/.run
	$(BIN)/entropilot run

test: $(VENV)/.test
	$(BIN)/python -m pytest

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.bench
	for script in benchmarks/[!_]*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch is installed first and by version alone, so that a CPU build that is at hand is taken.
$(VENV)/.torch: constraints.txt | $(BIN)/python
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	touch $@

$(VENV)/.run: pyproject.toml $(VENV)/.torch
	$(PIP) --editable '.[torch]'
	touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.torch
	$(PIP) --editable '.[torch,ray,physics,trl,test]'
	touch $@ $(VENV)/.run

$(VENV)/.docs: pyproject.toml $(VENV)/.run
	$(PIP) --editable '.[torch,docs]'
	touch $@

$(VENV)/.bench: pyproject.toml $(VENV)/.run
	$(PIP) --editable '.[torch,physics,bench]'
	touch $@

clean:
	rm -rf $(VENV) dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
