# Each target works on a fresh machine that has Python 3.10+ and make: it creates .venv and installs what
# it needs at the versions in constraints.txt. PYTHON chooses the interpreter.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
STAMP := .venv/.installed

.PHONY: demo test lint bench docs clean

demo: $(STAMP)-base
	$(BIN)/prorank demo

test: $(STAMP)-dev
	$(BIN)/python -m pytest

lint: $(STAMP)-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)-bench
	$(BIN)/prorank bench lexical --corpus stdlib
	$(if $(PRORANK_DATA),$(BIN)/prorank bench lexical --corpus $(PRORANK_DATA)/squad-rt-train)
	$(if $(PRORANK_DATA),$(BIN)/prorank bench lexical --corpus $(PRORANK_DATA)/wiki-250k)

docs: $(STAMP)-docs
	$(BIN)/mkdocs build --strict --quiet --config-file .mkdocs.yml

clean:
	rm -rf .venv build dist

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("prorank_plugins needs Python 3.10 or newer") if sys.version_info < (3, 10) else None'
	$(PYTHON) -m venv .venv

$(STAMP)-base: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable .
	touch $@

$(STAMP)-dev: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable '.[dev]'
	touch $@ $(STAMP)-base

# baguetter pins a dozen packages that its sparse index does not need.
$(STAMP)-bench: $(STAMP)-base
	$(PIP) bm25s tantivy scikit-learn nltk
	$(PIP) --no-deps baguetter
	touch $@

$(STAMP)-docs: $(STAMP)-base
	$(PIP) --editable '.[docs]'
	touch $@
