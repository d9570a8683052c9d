# Two commands: `make train` and `make test`. Each sets up .venv on first use and reuses it afterwards.
# `make lava` adds Lava's simulator in .lava, which tests and the stage lava use where it is there.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: train test test-all lava lint docs site release gpu-check clean

train: $(VENV)/.installed
	$(BIN)/python train.py

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"

test-all: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto --dist worksteal

lava: .lava/.installed

.lava/.installed: scripts/install_lava.py snntrain/lava_exchange/lava_shim.py | $(VENV)/.installed
	@echo "Installing Lava into .lava, about half a minute …"
	$(BIN)/python scripts/install_lava.py .lava
	@touch $@

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

docs: $(VENV)/.installed-dev
	$(BIN)/python scripts/tutorials.py
	$(BIN)/python scripts/gallery.py
	$(MAKE) site

# The pages alone, with what the tutorials and the gallery made before. With --quiet, MkDocs would pass broken links.
site: $(VENV)/.installed-dev
	@echo "Building the site, about a minute …"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "site/index.html can be opened in a browser."

release: $(VENV)/.installed-dev
	$(BIN)/python scripts/release.py

# On a machine with a GPU, at most 8 minutes; docs/gpus.md.
gpu-check: $(VENV)/.installed-bench
	$(BIN)/python scripts/gpu_check.py

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "snntrain needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV), about a minute …"
	$(PIP) -e '.[events]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV), about a minute …"
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV), some minutes …"
	$(PIP) -e '.[bench,events]' pytest hypothesis
	@touch $@

clean:
	rm -rf $(VENV) .lava .tutorials .gallery build dist site *.egg-info
