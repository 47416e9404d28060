# netlab: `make demo` to see it, `make test` to prove it, `make help` for the rest.
VENV   := .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
SUDO   := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.DEFAULT_GOAL := help
# Variables of `make fuzz` and `make soak`; set them on the command line to change them.
CASES   := 20000
SECONDS := 600
SEED     = $(shell date +%s)
.PHONY: help setup demo test unit fuzz soak lint format lock schema clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.installed  ## the tools netlab needs and its virtual environment
$(VENV)/.installed: pyproject.toml requirements-dev.lock tools/setup tools/packages
	@PYTHON=$(PYTHON) tools/setup $(VENV)
	@touch $@

demo: setup  ## boot topologies/quickstart.yaml, test it, show it; leaves the lab running
	@$(SUDO) tools/demo $(BIN)/netlab

test: setup lint  ## lint and every test tier
	@tools/test-tools
	@$(SUDO) env CI="$(CI)" $(BIN)/python -m pytest $(PYTEST_ARGS)

unit: setup  ## the tests that need no privilege: about a minute and a half
	@$(BIN)/python -m pytest tests/unit $(PYTEST_ARGS)

fuzz: setup  ## every search with CASES=20000 cases and a fresh SEED
	@$(SUDO) env NETLAB_FUZZ_CASES=$(CASES) NETLAB_FUZZ_SEED=$(SEED) $(BIN)/python -m pytest -m fuzz $(PYTEST_ARGS)

soak: setup  ## a lab under traffic while everything about it changes, for SECONDS=600
	@$(SUDO) env NETLAB_SOAK_SECONDS=$(SECONDS) $(BIN)/python -m pytest -s tests/soak $(PYTEST_ARGS)

lint: setup  ## ruff, mypy, import-linter, GitHub's schemas
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>&1 | tail -n +2
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-actions action.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

format: setup  ## put the code in ruff's format
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	--custom-compile-command 'make lock'
lock: setup  ## renew requirements-dev.lock and requirements.lock from pyproject.toml
	@$(BIN)/python -m pip install --quiet uv
	@$(COMPILE) --group dev --output-file requirements-dev.lock pyproject.toml
	@$(COMPILE) --group build --constraints requirements-dev.lock --output-file requirements.lock pyproject.toml

schema: setup  ## write topologies/schema.json from the models
	@$(BIN)/netlab schema > topologies/schema.json

clean:  ## remove what make made (a running lab is left alone: netlab down)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache dist
