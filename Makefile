# Each target works on a fresh machine that has Python 3.10+ and make: it creates .venv and installs what
# it needs at the versions in constraints.txt. PYTHON chooses the interpreter.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
STAMP := .venv/.installed

# Collections in the BEIR layout that the benchmarks look for in the folder PRORANK_DATA, if that is set.
ENGLISH := scifact cranfield cacm med time liveqa-med hotpotqa-100 squad-rt-dev
XQUAD := ar de el en es hi ro ru th tr vi zh

.PHONY: demo test lint bench docs notebooks extras clean

demo: $(STAMP)-demo
	$(BIN)/prorank demo

test: $(STAMP)-dev
	$(BIN)/python -m pytest

lint: $(STAMP)-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The passages that sizes and edits are measured on, and a million documents resampled from them.
PASSAGES := $(if $(PRORANK_DATA),$(PRORANK_DATA)/wiki-250k,stdlib)
MILLION := --corpus $(PASSAGES) $(if $(PRORANK_DATA),--resample 1000000) --engines prorank,bm25s,tantivy,pisa

bench: $(STAMP)-bench
	$(BIN)/prorank bench lexical --corpus stdlib
	$(if $(PRORANK_DATA),$(BIN)/prorank bench lexical --corpus $(PRORANK_DATA)/squad-rt-train --split train)
	$(if $(PRORANK_DATA),$(BIN)/prorank bench lexical --corpus $(PASSAGES))
	$(if $(PRORANK_DATA),$(BIN)/prorank bench lexical $(MILLION) --index terms)
	$(BIN)/prorank bench footprint $(MILLION)
	$(BIN)/prorank bench edits --corpus $(PASSAGES)
	$(BIN)/prorank bench scaling --corpus $(PASSAGES)
	$(BIN)/prorank bench rerank --shape small
	$(BIN)/prorank bench quality $(if $(PRORANK_DATA),$(addprefix $(PRORANK_DATA)/,$(ENGLISH)) \
	  $(PRORANK_DATA)/drcd-zh-hant:zh $(foreach code,$(XQUAD),$(PRORANK_DATA)/xquad/$(code):$(code)))

docs: $(STAMP)-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --config-file .mkdocs.yml

# Executes the notebooks in place and keeps their outputs.
notebooks: $(STAMP)-dev
	$(BIN)/python notebooks/execute.py

# Installs wheel and sdist alone with each extra and runs its tests, the notebooks among them.
extras: .venv/bin/python
	$(BIN)/python .ci/extras.py

clean:
	rm -rf .venv build dist

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("prorank_plugins needs Python 3.10 or newer") if sys.version_info < (3, 10) else None'
	$(PYTHON) -m venv .venv

$(STAMP)-base: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable .
	touch $@

$(STAMP)-demo: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable '.[rerank]'
	touch $@ $(STAMP)-base

$(STAMP)-dev: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable '.[dev]'
	touch $@ $(STAMP)-base $(STAMP)-demo

# baguetter asks for a dozen packages that its sparse index does not need. PISA is not built for every system;
# where it is missing, the benchmarks say so and go on.
$(STAMP)-bench: $(STAMP)-base
	-$(PIP) pyterrier-pisa
	$(PIP) matplotlib bm25s tantivy scikit-learn nltk python-dotenv huggingface_hub krovetzstemmer unidecode
	$(PIP) --no-deps baguetter
	$(PIP) --editable '.[rerank]' sentence-transformers accelerate onnx onnxruntime onnxscript
	$(PIP) --no-deps mxbai-rerank batched
	touch $@

$(STAMP)-docs: $(STAMP)-base
	$(PIP) --editable '.[docs]'
	touch $@
