# Everything here needs only Python (3.11 or newer), make and git. `make help` lists what there is.

VENV := .venv
# The first Python on the PATH that is new enough; say PYTHON=… to choose another.
PYTHON ?= $(firstword $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p"; done))
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PORT ?=
LAB_FLAGS ?=
TEST_FLAGS ?=
BOOK_FLAGS ?=

.DEFAULT_GOAL := help
.PHONY: help lab test quick lint book install constraints pretrain clean

help: ## list these commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/|/' | awk -F'|' '{printf "  make %-12s%s\n", $$1, $$2}'

lab: $(READY) ## open JupyterLab on the lessons (PORT=8899, LAB_FLAGS="--no-browser" pass through)
	@$(BIN)/python -m featx lab $(if $(PORT),--port $(PORT)) $(LAB_FLAGS)

test: $(READY) lint ## run all tests (TEST_FLAGS="-k freeze" passes through)
	@$(BIN)/python -m pytest -n auto --cov --cov-report=term $(TEST_FLAGS)

quick: $(READY) ## run the tests that take seconds only
	@$(BIN)/python -m pytest -n auto -m "not slow" $(TEST_FLAGS)

lint: $(READY) ## check style, types, import rules and that notebooks carry no output
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/nbstripout --keep-id --verify $$(git ls-files '*.ipynb')
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

book: $(READY) ## build the lessons and the reference as pages to read, with no network (BOOK_FLAGS="--jobs 1")
	@$(BIN)/python docs/book.py $(BOOK_FLAGS)

install: $(READY) ## make the virtual environment and install, nothing else

# The stamp is written last: an install that was interrupted is done again.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "featx needs Python 3.11 or newer, and none is on the PATH. Install it, or say: make PYTHON=/path/to/python3" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "Python could not make a virtual environment. On Debian and Ubuntu: sudo apt install python3-venv" >&2; rm -rf $(VENV); exit 2; }
	@echo "Installing into $(VENV) (torch is large: a few minutes the first time)"
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable ".[course,scale,timm,book,dev]"
	@touch $@

# Step by step, for a pipe tells of its last command only: the old pins stay until the new ones are whole.
constraints: ## pin what a fresh environment gets today
	@rm -rf $(VENV)-fresh && $(PYTHON) -m venv $(VENV)-fresh
	@$(VENV)-fresh/bin/python -m pip install --quiet --editable ".[course,scale,timm,book,dev]"
	@$(VENV)-fresh/bin/python -m pip freeze --exclude-editable > $(VENV)-fresh/frozen
	@sed 's/+[a-z0-9.]*$$//' $(VENV)-fresh/frozen | grep -E '^[A-Za-z0-9._-]+==[^ ]+$$' > $(VENV)-fresh/pins
	@mv $(VENV)-fresh/pins constraints.txt
	@rm -rf $(VENV)-fresh

pretrain: $(READY) ## train GlyphNet again from its one seed (20 minutes on two idle cores, 50 on busy ones)
	@$(BIN)/python -m featx.glyphnet.pretrain

clean: ## remove the virtual environment and what tools left behind
	@rm -rf $(VENV) $(VENV)-fresh .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage* htmlcov build dist featx-demo
