# make help lists what there is to make.
# Tests draw the same examples every time; others: HYPOTHESIS_PROFILE=random .venv/bin/python -m pytest --hypothesis-seed=1
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.drscale-ready
LAB_READY = $(VENV)/.drscale-lab-ready
APP_READY = $(VENV)/.drscale-app-ready
DOCS_READY = $(VENV)/.drscale-docs-ready
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
# pip would compile on one core, which takes as long as all the rest.
COMPILE = $(BIN)/python -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib || true
# Of what pip says, the names that it reads and the long last step; a failure is kept beside the pipe.
SHOWN = | awk '/^Collecting /{printf "  %s\n", $$2; fflush()} /^Installing collected/{print "  installing them all: a minute or more"; fflush()}'
# JupyterLab refuses to run as root unless told; and it shall neither ask the network for news nor ask the user whether it may:
# that is a setting, in notebooks/.lab. It opens on the page that says what the notebooks ask.
ROOT_FLAG := $(shell [ "$$(id -u)" = 0 ] && echo --allow-root)
LAB_FLAGS = --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate \
	--LabApp.extension_manager=readonly --LabApp.app_settings_dir="$(CURDIR)/notebooks/.lab" \
	--LabApp.default_url=/lab/tree/README.md $(ROOT_FLAG)
# Where `make student` puts notebooks to work in, and what `make lab DIR=...` opens.
COURSE = $(patsubst ~/%,$(HOME)/%,$(or $(DIR),~/drscale-course))

# The test files that need no torch.
TABLES = $(addsuffix .py,$(addprefix tests/test_,budget budget_plot explore frontier_plot laws_compare laws_fit laws_joint \
	laws_refits mixed mixed_plot mixed_scores papers papers_plot plotting stats_correlate))

.PHONY: all help setup lab student app test lint lowest notebooks execute book figures clean
all: test

help: ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/make \1|\2/p' Makefile | awk -F '|' '{ printf "%-16s%s\n", $$1, $$2 }'

setup: $(READY) ## install everything into .venv, as test does first (lab: without what only tests need)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "drscale needs Python 3.11 or newer and found: $$($(PYTHON) --version 2>&1); name another one, as in: make lab PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# Install an extra or two into the environment, with the names of what arrives.
define set_up
	@echo "Installing into $(VENV); the first time takes about five minutes (longer on a busy machine or a slow net). You may stop it and run it again."
	@rm -f $(VENV)/.failed
	@{ $(INSTALL) --no-compile -e '.[$(EXTRAS)]' || touch $(VENV)/.failed; } $(SHOWN)
	@[ ! -e $(VENV)/.failed ]
	@echo "  compiling what was installed: half a minute or more"
	@$(COMPILE)
	@touch $@
endef

# The lab needs no Sphinx, no mypy and no browser's driver, which the tests do.
$(LAB_READY): EXTRAS = lab
$(LAB_READY): pyproject.toml constraints.txt | $(BIN)/python
	$(set_up)
	@touch $(APP_READY)

$(READY): EXTRAS = lab,test
$(READY): pyproject.toml constraints.txt | $(BIN)/python
	$(set_up)
	@touch $(LAB_READY) $(APP_READY)

# The apps need no torch; where the lab is set up already, they take that.
$(APP_READY): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV); the first time takes a minute."
	@$(INSTALL) --quiet -e '.[app]'
	@touch $@

# The site needs Sphinx beside the lab.
$(DOCS_READY): pyproject.toml constraints.txt | $(READY)
	@$(INSTALL) --quiet -e '.[docs]'
	@touch $@

lab: $(LAB_READY) ## open the notebooks in JupyterLab (DIR=... those of make student)
	@echo "Starting JupyterLab: it takes some seconds, then opens a browser or prints an address. Ctrl+C ends it."
	$(BIN)/python -m jupyterlab "$(if $(DIR),$(COURSE)/)notebooks" $(LAB_FLAGS)

# A copy keeps what is in it; its notebooks find ../data by a link and write to a ../build of their own.
student: ## copy the notebooks to DIR, to work in (~/drscale-course)
	@mkdir -p "$(COURSE)/notebooks"
	@for f in notebooks/*.ipynb notebooks/README.md; do [ -e "$(COURSE)/$$f" ] || cp "$$f" "$(COURSE)/$$f" || exit 1; done
	@[ -L "$(COURSE)/data" ] || [ -e "$(COURSE)/data" ] || ln -s "$(CURDIR)/data" "$(COURSE)/data"
	@echo "The notebooks are in $(COURSE)/notebooks; open them with: make lab DIR=$(COURSE)"

# A page needs the token of the address that is printed; the server takes the next port where 8866 is in use.
app: $(APP_READY) ## serve the explorers as apps in a browser
	$(BIN)/python -m drscale app

# A file's tests share what they set up, so files go to the two workers whole, those that take longest first
# (tests/conftest.py); one thread each, or they fight for cores. What is compiled is kept, even where the environment says
# otherwise: the tests start a hundred interpreters.
test: $(READY) ## run all tests (the default)
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(READY) ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# uv, as pip cannot resolve to the lowest versions. What old versions warn of each other is not what is tested here.
lowest: build/lowest/.ready ## test the analysis side with the oldest versions allowed
	OMP_NUM_THREADS=1 build/lowest/bin/python -m pytest -q -W default -p no:cacheprovider $(TABLES)

build/lowest/.ready: pyproject.toml
	@$(PYTHON) -m venv --clear build/lowest
	@build/lowest/bin/python -m pip install --quiet --disable-pip-version-check uv
	build/lowest/bin/uv pip install --python build/lowest/bin/python --resolution lowest-direct -e .
	build/lowest/bin/uv pip install --python build/lowest/bin/python pytest hypothesis nbformat ir-measures
	@touch $@

notebooks: $(READY) ## execute every notebook in place, with static figures
	$(BIN)/python notebooks/build.py store

execute: $(READY) ## execute every notebook and leave it as it is: does every cell still run?
	$(BIN)/python notebooks/build.py run

book: $(DOCS_READY) ## build the site of notebooks, reference and pages into build/book/index.html
	$(BIN)/python docs/make_site.py build/book

figures: $(READY) ## draw the README's figures from data/runs
	$(BIN)/python data/figures/draw.py

clean: ## delete what was built, but not .venv
	rm -rf build dist drscale.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find drscale tests notebooks benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
