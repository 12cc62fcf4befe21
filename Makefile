# The Measured Transformer. `make help` lists the commands.
# Which build of torch is installed follows pip's own settings (PIP_INDEX_URL and the like).

PYTHON   ?= python3
CHAPTERS ?=
JOBS     ?= 2
PORT     ?= 8000

VENV   := .venv
PY     := $(VENV)/bin/python
READY  := $(VENV)/.ready
BENCH  := $(VENV)/.ready-bench
PIP    := $(PY) -m pip --disable-pip-version-check --quiet

# One thread for each of the processes that run side by side, and the same digits everywhere.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help setup book test lint types unit chapters lab serve bench bench-gpu clean distclean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-10s %s\n", $$1, $$2 }'

setup: $(READY)  ## create .venv with the pinned set of packages

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("Python 3.11 or newer is needed, and %s is %d.%d. Name another: make PYTHON=python3.12" % (sys.executable, v[0], v[1]))'
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "Installing the pinned packages into $(VENV) (minutes, the first time) ..."
	@$(PIP) install "$$(grep '^torch==' constraints.txt)" --constraint constraints.txt
	@$(PIP) install --editable ".[book,test]" --constraint constraints.txt
	@touch $@

$(BENCH): $(READY)
	@$(PIP) install --editable ".[bench]" --constraint constraints.txt
	@touch $@

book: $(READY)  ## build the book from its stored outputs, warnings as errors
	@$(PY) tools/build_book.py

lint: $(READY)  ## style of the code: ruff
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: $(READY)  ## types of the library and the tools: mypy
	@$(PY) -m mypy

test: lint types  ## check everything: style, types, unit tests, every notebook, every page
	@$(ONE_THREAD) $(PY) -m pytest tests book -n 2 --dist loadfile \
	    --nbval --nbval-current-env --nbval-cell-timeout=600

unit: $(READY)  ## unit tests only, without notebooks and pages
	@$(ONE_THREAD) $(PY) -m pytest tests -n 2 --dist loadfile --ignore tests/test_pages.py

chapters: $(READY)  ## run notebooks, store their outputs: all, or CHAPTERS="blocks/attention"
	@$(PY) tools/chapters.py --jobs $(JOBS) $(CHAPTERS)

lab: $(READY)  ## open the chapters in JupyterLab
	@$(VENV)/bin/jupyter lab --notebook-dir=book

serve: book  ## build the book and serve it on this machine (PORT=8000)
	@echo "http://127.0.0.1:$(PORT)/ (stop with Ctrl-C)"
	@$(PY) -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

bench: $(BENCH)  ## measure tfmlib beside its peers (ARGS="--only greedy --rounds 3")
	@$(ONE_THREAD) $(PY) -m benchmarks $(ARGS)

bench-gpu: $(READY)  ## check and measure one NVIDIA GPU (ARGS="--text shakespeare.txt")
	@$(PY) -m benchmarks.gpu $(ARGS)

clean:  ## remove what was built
	rm -rf _build build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -print | xargs rm -rf

distclean: clean  ## remove .venv as well
	rm -rf $(VENV)
