# `make` lists the targets. Variables: PYTHON (interpreter to build with), SPACE and ARGS (of run).
#   make run ARGS="--data photos --trials 40"     make test PYTHON=python3.12

PYTHON ?= python3
SPACE ?= spaces/cars.yaml
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# An interpreter asked for by name replaces a .venv made with another one.
ifneq ($(origin PYTHON),file)
REBUILD := $(shell [ ! -x $(BIN)/python ] || \
	[ "$$($(BIN)/python -V 2>&1)" = "$$($(PYTHON) -V 2>&1)" ] || echo rebuild)
endif

.DEFAULT_GOAL := help
.PHONY: help setup run test cluster-test check lint unit format lock clean rebuild

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

setup: $(READY) ## build .venv with the tested versions; does nothing when it is up to date

run: $(READY) ## set up, then search: SPACE (spaces/cars.yaml) with ARGS
	$(BIN)/python -m search.run --space $(SPACE) $(ARGS)

# Two files of tests at once, in their order: the long ones come first, and wait as much as they
# compute. With three, a busy machine makes some wait too long.
test: $(READY) ## set up, then run the default test suite
	$(BIN)/python -m pytest tests -m "not real and not cluster" \
		-n 2 --dist loadfile --no-loadscope-reorder

cluster-test: $(READY) ## ray up on hosts made of namespaces: Linux, root, openssh-server, rsync, iproute2
	$(BIN)/python -m pytest tests/cluster -m cluster -rs

check: lint unit ## lint, types and unit tests, in under 2 minutes

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m mypy

unit: $(READY)
	$(BIN)/python -m pytest tests/unit tests/test_layers.py tests/test_docs.py

format: $(READY) ## mend format and simple lint in place
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# --upgrade: versions already in the file would be kept without it. --fork-strategy fewest: one
# version for every Python, where the newest would differ between them.
lock: $(BIN)/uv ## renew requirements.lock: the newest versions within the ranges of pyproject.toml
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile pyproject.toml --extra dev \
		--upgrade --universal --fork-strategy fewest --python-version 3.11 --no-annotate --quiet \
		-o requirements.lock
	@if grep -nE '://|^file:|^/| @ ' requirements.lock; then \
		echo "requirements.lock: must name no host and no path, got the lines above."; exit 1; fi

clean: ## remove .venv and caches; results stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The mark comes last, so a set-up cut short is taken up again by the next make.
$(READY): pyproject.toml requirements.lock $(REBUILD) | $(BIN)/uv
	@echo "Installing the tested versions: about 6 GB on Linux, where torch brings CUDA"
	@rm -f $@
	@$(BIN)/uv pip install --python $(BIN)/python $$([ -t 2 ] || echo --quiet) \
		-c requirements.lock -b requirements.lock -e ".[dev]"
	@touch $@
	@echo "$(VENV) is ready"

$(BIN)/uv: $(REBUILD)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "PYTHON=$(PYTHON): must be Python 3.11 or newer, got $$($(PYTHON) -V 2>&1)." \
			"Name another one, for example: make setup PYTHON=python3.12"; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) -V 2>&1)"
	@$(PYTHON) -m venv --clear $(VENV) || { \
		echo "$(VENV): could not be made with $(PYTHON). On Debian and Ubuntu:" \
			"apt install python3-venv, then try again."; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock uv
