PYTHON ?= python3.11
VENV := .venv
RUN := $(VENV)/bin/python

# What `make dataset` renders: the objects, the categories of them, where to and how.
OBJECTS ?=
CATEGORIES ?=
OUT ?= data/generated/shards
PRESET ?= $(if $(OBJECTS),standard,preview)
ARGS ?=

.PHONY: help setup dataset test lint format clean

help:
	@echo "make dataset              render eight sample objects (PRESET=preview, 128 pixels)"
	@echo "make dataset OBJECTS=DIR  render your PartNet-Mobility objects (PRESET=standard, 256 pixels)"
	@echo "                          CATEGORIES=\"Safe Toaster\" OUT=DIR PRESET=… ARGS=\"--workers 8 …\""
	@echo "make test                 run the tests"
	@echo "make lint                 ruff and mypy"
	@echo "make format               let ruff format the code"
	@echo "make setup                make .venv (the others do it when needed)"

setup: $(VENV)/.done

$(VENV)/.done: requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --requirement requirements.lock
	touch $@

dataset: setup
	$(RUN) -m datagen build --preset $(PRESET) --out $(OUT) \
		$(if $(OBJECTS),--objects $(OBJECTS)) $(if $(CATEGORIES),--categories $(CATEGORIES)) $(ARGS)

test: setup
	$(RUN) -m pytest

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: setup
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

clean:
	rm -rf $(VENV) data/generated
