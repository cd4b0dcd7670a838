# make demo   an environment, the package, and `hcodec demo`
# make test   an environment, the package with its tools, then ruff, mypy and pytest
#
# make lab    an environment, then the smallest model of each family, a table and a report in lab/smallest/
#
# All start from a fresh clone. PYTHON chooses the interpreter (3.11 or newer).

PYTHON ?= python3
VENV    = .venv

BIN     = $(VENV)/bin
SETUP   = pyproject.toml constraints.txt
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e

.PHONY: demo test lab lint typed clean

demo: $(VENV)/core
	mkdir -p demo
	$(BIN)/hcodec demo --force -o demo/levels.png

# A process of tests for each core; threads of torch would spin against those of the other processes.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --dist worksteal

FAMILIES = vae ladder resnet biva nvae vdvae pixelvae diffusion small

lab: $(VENV)/dev
	for family in $(FAMILIES); do $(BIN)/hcodec lab train $$family --tiny --minutes 0.2 --models lab/smallest -f || exit 1; done
	$(BIN)/hcodec lab measure --models lab/smallest --pictures 200 --weighted 20 --coded 20
	$(BIN)/hcodec lab report --models lab/smallest --pictures 50

lint: $(VENV)/dev typed
	$(BIN)/ruff check .
	$(BIN)/mypy

# The three source folders as they are laid out when installed, for mypy.
typed: $(VENV)/dev
	rm -rf $(VENV)/typed
	mkdir -p $(VENV)/typed/hcodec
	ln -s $(CURDIR)/hcodec/* $(CURDIR)/models $(CURDIR)/cli $(VENV)/typed/hcodec/

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One pip command for everything, so that the constraint holds torch while the rest is resolved.
$(VENV)/core: $(SETUP) | $(BIN)/python
	$(INSTALL) .
	touch $@

$(VENV)/dev: $(SETUP) | $(BIN)/python
	$(INSTALL) ".[dev,bench]"
	touch $@ $(VENV)/core

clean:
	rm -rf $(VENV) build dist demo lab *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
