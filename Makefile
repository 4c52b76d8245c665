# `make` or `make help` lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PORT ?= 8000
TRAINERS ?= 0
SEGUE_DATA ?= ../shared/data/pets160
SEGUE_TRAINING_DATA ?= ../shared/data/pets256
SEGUE_NETWORKS ?= ../shared/data/trained
RUN ?= var/training/run
# Tests spend most of their time waiting, so three processes keep two cores busy.
PROCESSES ?= 3
PYTHONS ?= 3.11 3.12 3.13
COMPILE = $(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
	--no-emit-package segue-client
INSTALL = $(BIN)/python -m pip install -q --disable-pip-version-check
# PYTHONWARNINGS hides a warning that setuptools prints for every editable installation.
INSTALL_OURS = PYTHONWARNINGS=ignore $(INSTALL) --no-deps --no-build-isolation -e . -e ./client
ADVISORIES := https://api.osv.dev/v1/vulns/PYSEC-2023-228
export PORT WORKERS TRAINERS SEGUE_DATA SEGUE_TRAINING_DATA SEGUE_NETWORKS

.DEFAULT_GOAL := help
.PHONY: help run run-scaled test test-fast test-faults test-loop test-rollouts test-circle test-compose check check-deploy format lint lint-deploy types audit bench bench-peers bench-web bench-model soak simulate train export evaluate lock smoke sbom release clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.run $(if $(filter-out 0,$(TRAINERS)),$(VENV)/.train) ## Run all processes on this machine: PORT=8000 REDIS_PORT=6379 S3_PORT=8333 WORKERS=cores TRAINERS=0 VAR=var
	@exec $(BIN)/python scripts/run.py

run-scaled: ## The same with nginx (Debian: nginx-light) in front of WEBS=2 web servers: TLS_CERTIFICATE and TLS_KEY name files
	@WEBS=$${WEBS:-2} $(MAKE) --no-print-directory run

test: $(VENV)/.dev ## Run all tests against real services: ARGS="-k mask" selects some, PROCESSES=3 in parallel
	@$(BIN)/python -m pytest -n $(PROCESSES) --dist loadscope $(ARGS)

test-fast: $(VENV)/.dev ## Run only the tests that start no service (a minute)
	@$(BIN)/python -m pytest -n 2 --dist loadscope -m fast $(ARGS)

test-faults: $(VENV)/.dev ## Inject every fault into a running stack, and print a table of recoveries (15 minutes)
	@$(BIN)/python -m pytest tests/faults -m "" --show-capture=no $(ARGS)

test-loop: $(VENV)/.dev ## Teach a running stack, from corrections to a promoted version, and print the figures (10 minutes)
	@$(BIN)/python -m pytest tests/learning -s $(ARGS)

test-rollouts: $(VENV)/.dev ## Roll out good and bad versions on loaded stacks, kill processes meanwhile, and print the figures (20 minutes)
	@$(BIN)/python -m pytest tests/rollouts -m "" -s $(ARGS)

test-circle: $(VENV)/.dev ## Run the unattended circle once on toy data, and print the figures (10 minutes)
	@$(BIN)/python -m pytest tests/rollouts/test_circle.py -m "" -s $(ARGS)

test-compose: $(VENV)/.dev ## Build and run the containers, and kill each; as root, with Debian's docker.io and mmdebstrap (15 minutes)
	@$(BIN)/python -m pytest tests/compose -m "" -s $(ARGS)

check: lint types check-deploy test-fast ## Run before a commit: style, types, deployment files and the fast tests (4 minutes)

format: $(VENV)/.dev ## Format the code and apply ruff's fixes
	@$(BIN)/ruff check -q --fix . ; $(BIN)/ruff format .

lint: $(VENV)/.dev ## Check style and shell scripts
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@for script in deploy/*.sh examples/*.sh scripts/*.sh .ci/run; do sh -n $$script || exit 1; done

lint-deploy: $(VENV)/.dev ## Check the style and syntax of Dockerfile, compose files and alerts
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/docker-compose --profile monitoring --profile training config -q
	@$(BIN)/docker-compose -f docker-compose.yml -f compose.gpu.yml --profile monitoring --profile training config -q
	@if command -v promtool > /dev/null; then promtool check rules deploy/prometheus/alerts.yml > /dev/null; \
	else echo "skipped: promtool, of Debian's package prometheus"; fi

check-deploy: lint-deploy ## Also test SBOMs, Kubernetes manifests, Helm chart and first start; needs no container engine
	@$(BIN)/python -m pytest -q tests/test_deploy.py tests/test_first_start.py tests/test_kubernetes.py tests/test_sbom.py tests/telemetry/test_scaling.py $(ARGS)

types: $(VENV)/.dev ## Check types with mypy, strict
	@$(BIN)/mypy

smoke: ## Install and start Segue with each supported Python, and segment a photo (run it weekly; minutes)
	@for version in $(PYTHONS); do scripts/smoke.sh python$$version || exit 1; done

audit: $(VENV)/.dev ## Look up known vulnerabilities of the locked dependencies, if the advisory service is reachable
	@if $(BIN)/python -c 'import urllib.request; urllib.request.urlopen("$(ADVISORIES)", timeout=20)' 2> /dev/null; \
	then $(BIN)/pip-audit --vulnerability-service osv --progress-spinner off --disable-pip --require-hashes -r requirements/dev.txt; \
	else echo "skipped: pip-audit, because $(ADVISORIES) is not reachable"; fi

bench: $(VENV)/.dev ## Compare each job with its bare work: ARGS="--quick --legs bare,closed --sizes 640", --compare, --plot
	@$(BIN)/python scripts/bench/bench.py $(ARGS)

bench-peers: $(VENV)/.dev ## Compare with Flask, Celery, LitServe, BentoML, mosec, Ray Serve: ARGS="--peers flask --engines litert"
	@$(BIN)/python scripts/bench/peers/peers.py $(ARGS)

soak: $(VENV)/.dev ## Run 100,000 jobs or 30 minutes and report whether memory grows: ARGS="--jobs 10000 --minutes 10"
	@$(BIN)/python scripts/bench/soak.py $(ARGS)

bench-web: $(VENV)/.dev ## Measure worker classes of the web server, a thousand waiting clients, hostile requests, attackers
	@$(BIN)/python scripts/bench/web_servers.py
	@$(BIN)/python scripts/bench/waiters.py
	@$(BIN)/python scripts/bench/refusals.py
	@$(BIN)/python scripts/bench/attackers.py

bench-model: $(VENV)/.dev ## Compare the engines; measure cold start and memory
	@$(BIN)/python scripts/bench/engines.py

simulate: $(VENV)/.dev ## Predict capacity from benchmarks: ARGS="var/bench/DATE.json --scale --core-hour 0.04"
	@$(BIN)/python scripts/bench/simulate.py $(ARGS)

train: $(VENV)/.dev ## Train a network (an hour on 2 cores): ARGS="model/recipes/imagenet.toml --set epochs=3 --start VERSION"
	@$(BIN)/python -m model.train --out $(RUN) $(ARGS)

export: $(VENV)/.dev ## Build a model version from a training run: RUN=var/training/run OUT=model/weights/pets/4
	@$(BIN)/python -m model.export --run $(RUN) --out $(OUT) $(ARGS)

evaluate: $(VENV)/.dev ## Measure the shipped model with each engine: ARGS="--against model/weights/pets/2 --table --sheets DIR"
	@$(BIN)/python -m model.evaluate $(ARGS)

lock: | $(BIN)/python ## Resolve the dependencies again and write requirements/
	@$(INSTALL) uv
	@$(COMPILE) --upgrade --extra dev --extra lock pyproject.toml -o requirements/dev.txt
	@for part in web worker train gpu local; do \
		$(COMPILE) --extra $$part --extra lock -c requirements/dev.txt pyproject.toml -o requirements/$$part.txt || exit 1; done
	@$(COMPILE) --extra lock -c requirements/dev.txt client/pyproject.toml -o requirements/client.txt

sbom: $(VENV)/.dev ## Write a CycloneDX SBOM of each image into var/sbom: ARGS="--python 3.12.1" for another base image
	@$(BIN)/python scripts/sbom.py $(ARGS)

release: $(VENV)/.dev ## Check that this commit can be released, and list the remaining steps: RELEASE=0.2.0
	@$(BIN)/python scripts/release.py $(RELEASE)

clean: ## Remove the environment and all state
	@rm -rf $(VENV) var

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Segue needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements/local.txt pyproject.toml client/pyproject.toml | $(BIN)/python
	@echo "Installing the server's dependencies into $(VENV) (a minute or two)"
	@$(INSTALL) --require-hashes -r requirements/local.txt
	@$(INSTALL_OURS)
	@touch $@

$(VENV)/.train: requirements/train.txt | $(VENV)/.run
	@echo "Installing TensorFlow into $(VENV) (a minute or two)"
	@$(INSTALL) --require-hashes -r requirements/train.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt requirements/helm.txt pyproject.toml client/pyproject.toml | $(BIN)/python
	@echo "Installing the development dependencies into $(VENV) (a few minutes)"
	@$(INSTALL) --require-hashes -r requirements/dev.txt
	@$(BIN)/python scripts/install_helm.py
	@$(INSTALL_OURS)
	@touch $@ $(VENV)/.run $(VENV)/.train
