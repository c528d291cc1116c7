PYTHON ?= python3.11
VENV := .venv
RUN := $(VENV)/bin/python

# What `make dataset` renders: the objects, the categories of them, where to and how.
OBJECTS ?=
CATEGORIES ?=
OUT ?= data/generated/shards
PRESET ?= $(if $(OBJECTS),standard,preview)
ARGS ?=

# What `make train` trains, on which shards, and where to. Without a GPU: a small network, for minutes.
GPU := $(shell nvidia-smi -L 2>/dev/null)
MODEL ?= $(if $(GPU),mini,nano)
DATA ?= data/generated/$(if $(filter nano,$(MODEL)),shards,shards-256)
RUNS ?= runs/$(MODEL)
TRAIN_nano := --no-lpips --steps 300 --warmup-steps 50 --lr 2e-3 --workers 1 --checkpoint-every 100
TRAIN_mini := --steps 3000 --warmup-steps 200 --batch-size 32 --lr 1.5e-3 \
	--lpips-views 1 --lpips-weight 0.1 --workers 12
# What `make eval` and `make view` use: what was trained here, else the weights that come along.
WEIGHTS ?= $(wildcard $(RUNS)/appearance/weights.safetensors)
EVAL_nano := --no-lpips --resolution 128

DEMO := data/generated/demo
# The objects that `make view` offers: those of the dataset, else that of the demo.
SAMPLES ?= $(firstword $(wildcard $(DATA)/manifest.json $(DEMO)/shards/manifest.json) $(DATA)/)

.PHONY: help setup demo dataset train eval view test lint format clean

help:
	@echo "make demo                 render a sample object, drag it, and leave a page of pictures"
	@echo "make dataset              render eight sample objects (PRESET=preview, 128 pixels)"
	@echo "make dataset OBJECTS=DIR  render your PartNet-Mobility objects (PRESET=standard, 256 pixels)"
	@echo "                          CATEGORIES=\"Safe Toaster\" OUT=DIR PRESET=… ARGS=\"--workers 8 …\""
	@echo "make train                train MODEL=$(MODEL) on DATA=$(DATA),"
	@echo "                          which is made if missing: all three stages, into RUNS=$(RUNS)"
	@echo "make eval                 measure what it learnt on objects it has not seen"
	@echo "make view                 pull at pictures in a web page"
	@echo "make test                 run the tests"
	@echo "make lint                 ruff and mypy"
	@echo "make format               let ruff format the code"
	@echo "make setup                make .venv (the others do it when needed)"

setup: $(VENV)/.done

$(VENV)/.done: requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --requirement requirements.lock $(if $(GPU),gsplat==1.5.3)
	touch $@

demo: setup
	$(RUN) -m datagen build --preset standard --categories Microwave --out $(DEMO)/shards
	$(RUN) -m model.demo --data $(DEMO)/shards --out $(DEMO) $(ARGS)

dataset: setup
	$(RUN) -m datagen build --preset $(PRESET) --out $(OUT) \
		$(if $(OBJECTS),--objects $(OBJECTS)) $(if $(CATEGORIES),--categories $(CATEGORIES)) $(ARGS)

$(DATA)/manifest.json:
	$(MAKE) dataset OUT=$(DATA) PRESET=$(if $(filter nano,$(MODEL)),preview,standard) ARGS=

train: setup $(DATA)/manifest.json
	$(RUN) train.py --data $(DATA) --out $(RUNS) --preset $(MODEL) $(TRAIN_$(MODEL)) $(ARGS)

eval: setup $(DATA)/manifest.json
	$(RUN) eval.py $(WEIGHTS) --data $(DATA) $(EVAL_$(MODEL)) $(ARGS)

# The browser draws on the same cores: threads that wait must not spin.
view: setup
	OMP_WAIT_POLICY=passive $(RUN) -m model.page $(if $(WEIGHTS),--weights $(WEIGHTS)) --data $(dir $(SAMPLES)) $(ARGS)

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
	rm -rf $(VENV) data/generated runs
