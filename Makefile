# make lab   set up and open JupyterLab          make notebooks  execute every notebook in place, with static figures
# make test  set up and run all tests            make book       execute every notebook into build/book/index.html
# make lint  style and types                     make figures    draw the README's figures from data/runs
# make app   the explorers as apps in a browser  make lowest     test the analysis side with the oldest versions allowed
# Tests draw the same examples every time; others: HYPOTHESIS_PROFILE=random .venv/bin/python -m pytest --hypothesis-seed=1
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.drscale-ready
APP_READY = $(VENV)/.drscale-app-ready
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# JupyterLab refuses to run as root unless told; and it shall not ask the network for news.
ROOT_FLAG := $(shell [ "$$(id -u)" = 0 ] && echo --allow-root)
LAB_FLAGS = --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate \
	--LabApp.extension_manager=readonly $(ROOT_FLAG)

# The test files that need no torch.
TABLES = $(addsuffix .py,$(addprefix tests/test_,analysis analysis_joint analysis_refits budget compare effects \
	fronts mixed plans printed published relations scores show widgets))

.PHONY: all setup lab app test lint lowest notebooks book figures clean
all: test

setup: $(READY)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "drscale needs Python 3.11 or newer and found: $$($(PYTHON) --version 2>&1); name another one, as in: make lab PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(READY): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV); the first time takes a few minutes."
	@$(INSTALL) -e '.[lab,test]'
	@touch $@ $(APP_READY)

# The apps need no torch; where the lab is set up already, they take that.
$(APP_READY): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV); the first time takes a minute."
	@$(INSTALL) -e '.[app]'
	@touch $@

lab: $(READY)
	$(BIN)/python -m jupyterlab notebooks $(LAB_FLAGS)

# Voila finds voila.json and the page's template here; it takes the next port where 8866 is in use.
app: $(APP_READY)
	cd notebooks/apps && JUPYTER_PATH=. $(abspath $(BIN))/python -m voila .

# A file's tests share what they set up, so files go to the two workers whole; one thread each, or they fight for cores.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# uv, as pip cannot resolve to the lowest versions. What old versions warn of each other is not what is tested here.
lowest: build/lowest/.ready
	OMP_NUM_THREADS=1 build/lowest/bin/python -m pytest -q -W default -p no:cacheprovider $(TABLES)

build/lowest/.ready: pyproject.toml
	@$(PYTHON) -m venv --clear build/lowest
	@build/lowest/bin/python -m pip install --quiet --disable-pip-version-check uv
	build/lowest/bin/uv pip install --python build/lowest/bin/python --resolution lowest-direct -e .
	build/lowest/bin/uv pip install --python build/lowest/bin/python pytest hypothesis nbformat ir-measures
	@touch $@

notebooks: $(READY)
	$(BIN)/python notebooks/build.py store

book: $(READY)
	$(BIN)/python notebooks/build.py book build/book

figures: $(READY)
	$(BIN)/python data/figures/draw.py

clean:
	rm -rf build dist drscale.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find drscale tests notebooks benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
