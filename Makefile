.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

help: ## say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

# One stamp per lock file: the environment is made once and remade when a pin changes.
$(VENV)/.installed: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "byway needs Python 3.11 or newer; run make with PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing pinned packages into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

install: $(VENV)/.installed ## make the virtual environment (.venv)

lock: ## pin every package anew, with hashes
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet \
	  --group dev --all-extras pyproject.toml -o requirements/dev.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet \
	  --all-extras pyproject.toml -o requirements/run.txt

.PHONY: help install lock

proto: install ## generate the messages of the Manager and Daemon APIs
	cd xds/api && PATH="$(abspath $(BIN)):$$PATH" ../../$(BIN)/python -m grpc_tools.protoc -I proto --plugin=protoc-gen-python_betterproto2=../../$(BIN)/protoc-gen-python_betterproto2 \
	  --python_betterproto2_out=. --python_betterproto2_opt=client_generation=none,server_generation=none \
	  byway/manager/v1/manager.proto byway/daemon/v1/daemon.proto
.PHONY: proto

demo: install ## watch developers intercept the same service without seeing each other (ARGS=--check, --exit)
	@PYTHONPATH=tools $(BIN)/python -m demo $(ARGS)

.PHONY: demo

test: install ## run every test: unit, golden, property and end-to-end with real Envoys (ARGS=-k name)
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

MINUTES ?= 10
soak: install ## the registry under random commands and comparisons for MINUTES (default 10; SEED repeats a round)
	@PYTHONPATH=. $(BIN)/python -m tests.registry.soak $(MINUTES) $(SEED)

PAIRS ?= 100000
soak-explain: install ## explain beside a real Envoy on PAIRS random states and requests (default 100000; SEED repeats them)
	@PYTHONPATH=.:tools $(BIN)/python -m tests.compile.soak $(PAIRS) $(SEED)

MESSAGES ?= 10000000
soak-wire: install ## the wire codec of xDS beside betterproto2 on MESSAGES strange messages (default 10 million; SEED repeats them)
	@PYTHONPATH=. $(BIN)/python -m tests.serve.soak wire $(MESSAGES) $(SEED)

soak-xds: install ## the xDS server under clients that say anything, for MINUTES (default 10; SEED repeats them)
	@PYTHONPATH=. $(BIN)/python -m tests.serve.soak protocol $(MINUTES) $(SEED)

conformance: install ## try the xDS protocol's rules on our server and on go-control-plane (needs Go), and write docs/conformance.md
	@PYTHONPATH=tools:. GRPC_VERBOSITY=NONE $(BIN)/python -m conformance 2>/dev/null

.PHONY: conformance

bench: install ## measure what is promised of speed; writes bench.json and bench-*.png (ARGS=--quick, --only xds)
	@PYTHONPATH=tools:. $(BIN)/python -m bench $(ARGS)

lint: install ## ruff, mypy --strict and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PYTHONPATH=tools $(BIN)/lint-imports --no-cache

goldens: install ## rewrite the golden files from what the code says now; look at the difference before you commit
	@BYWAY_REWRITE_GOLDENS=1 $(BIN)/python -m pytest -q tests $(ARGS)

wheel: install ## build the wheel into dist/
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist . >/dev/null && ls dist

clean: ## remove the virtual environment and everything else that was made
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: test soak soak-explain soak-wire soak-xds lint goldens wheel clean
