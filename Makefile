# `make demo` and `make test` set everything up by themselves; see README.md.

PYTHON ?= python3
CORES ?= all
VENV := .venv
READY := $(VENV)/installed
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Models and data are local files: nothing in a run may reach for the network by itself.
export HF_HUB_OFFLINE ?= 1

.PHONY: help install demo tables test test-slurm test-kubernetes chaos lint format docs schema lock clean

help:
	@sed -n 's/^\([a-z-]*\):.*## /make \1 — /p' Makefile

install: $(READY) ## set up .venv from requirements.lock

$(READY): requirements.lock envs/install.sh
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), f"Python 3.11 or newer is needed, this is {sys.version}"'
	$(PYTHON) -m venv $(VENV)
	envs/install.sh $(VENV)/bin/python
	touch $@

demo: $(READY) ## run the embedded data set through every stage
	referee demo --cores $(CORES)

tables: $(READY) ## train, compare, and write the tables of docs/results.md
	referee make-shapes --size full
	referee run compare/shapes/valid_u --cores $(CORES)
	referee compare --dataset shapes --split valid_u --write docs/results.md

# Two workers, each with whole files: what files share (a finished run of the pipeline) is made once.
test: $(READY) ## run everything that CI runs
	python -m pytest --numprocesses logical --maxprocesses 2 --dist loadfile --no-loadscope-reorder

# Root's business, on Debian; elsewhere the tests are skipped, and say why.
test-slurm: $(READY) ## run the pipeline through a real Slurm of one node, which is installed first
	command -v slurmctld munged > /dev/null || (apt-get update && apt-get install --yes --no-install-recommends slurm-wlm munge) || true
	REFEREE_TEST_SLURM=1 python -m pytest tests/cluster/test_slurm.py -rsP

# The same; Debian has the source of Kubernetes, which is built once, in minutes, into the folder KUBERNETES.
KUBERNETES ?= $(HOME)/.cache/referee-kubernetes

test-kubernetes: $(READY) ## run the pipeline through a real Kubernetes of one node, which is built first
	tests/support/kubernetes_build.sh "$(KUBERNETES)" || true
	REFEREE_TEST_KUBERNETES="$(KUBERNETES)" python -m pytest tests/cluster/test_kubernetes.py -rsP

# SEED=7 is another search; a failure is repeated with the seed that it was found with.
SEED ?= 0

chaos: $(READY) ## kill stages and whole runs, disturb and feed them, at length; docs/reliability.md has the figures
	OMP_NUM_THREADS=1 PYTHONPATH=.:tests python -m support.chaos --kills 500 --faults 8 --inputs 720 --runs 8 --seed $(SEED)

lint: $(READY) ## formatters, linters and the type checker
	python -m pytest tests/house/test_house.py

format: $(READY) ## format the code
	ruff format .
	ruff check --fix .
	snakefmt Snakefile workflow/rules

docs: $(READY) ## build the documentation as a site: site/html/index.html
	python docs/build_site.py

schema: $(READY) ## write workflow/schemas/config.schema.json from the config models
	referee write-schema

lock: ## write requirements.lock anew from pyproject.toml (needs uv, and torch for sam2's metadata)
	SAM2_BUILD_CUDA=0 uv pip compile --extra cpu --extra gpu --extra slurm --extra cluster --extra groundingdino --extra dev --extra bench \
	  --extra docs --no-header --no-build-isolation-package sam2 \
	  --python-version 3.11 --output-file requirements.lock pyproject.toml

clean: $(READY) ## delete results and caches that referee made; data, weights and all else stay
	referee clean
