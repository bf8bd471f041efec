# Each verb does all the set-up that it needs: python3 (3.11 or newer) with its venv module is enough to begin with.

PYTHON ?= python3
DURATION ?= 120
ARGS ?=

BIN := .venv/bin
STAMP := .venv/.installed
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check install -qq --constraint constraints.txt

# extra $(1): where its dependencies have no wheel for this machine, say in one line what will not work ($(2)), and go on.
define extra
@echo "installing the extra $(1)"
@$(PIP_INSTALL) --only-binary :all: --editable '.[$(1)]' >.venv/$(1).log 2>&1 || \
	echo "left out: the extra $(1) cannot be installed here, so $(2) (reason: .venv/$(1).log)"
endef

BASE ?= HEAD~1

.PHONY: help install saturate test check format proto bench bench-compare bench-c clean

help: ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16

install: $(STAMP) ## make .venv with every extra that has a wheel here

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || \
		{ echo "$(PYTHON) is not there: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$$($(PYTHON) --version) is too old: 3.11 or newer is needed; name one: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) has no venv module: install it (Debian: apt-get install python3-venv)"; exit 1; }
	@test -x $(BIN)/pip || { echo "making .venv"; $(PYTHON) -m venv .venv; }
	@echo "installing loadgen and its tools"
	@$(PIP_INSTALL) --editable '.[dev]'
	$(call extra,tensorflow,vgg and inception will not load)
	$(call extra,lightgbm,lgbm will not load)
	$(call extra,sklearn,elastic-net and kernel-svm and kpca-svm will not load)
	$(call extra,onnx,models from ONNX files will not load)
	$(call extra,docker,loadgen cannot talk to a Docker engine)
	$(call extra,redis,frontends cannot share their configuration through Redis)
	$(call extra,oip,servers of the Open Inference Protocol cannot be loaded)
	$(call extra,gpu,GPUs are not watched)
	$(call extra,report,reports have no plots)
	$(call extra,peers,benchmarks have no other load generators beside ours)
	@touch $@

saturate: $(STAMP) ## saturate Inception V3 for DURATION seconds (120), with further options in ARGS
	$(BIN)/loadgen saturate --model inception --batch-size 2 --duration $(DURATION) $(ARGS)

test: $(STAMP) ## run the tests
	$(BIN)/python -m pytest

check: $(STAMP) ## lint, formatting, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: $(STAMP) ## make the modules of the protocol's messages anew, after a change of inference.proto
	$(PYTHON) -m venv .venv/proto && .venv/proto/bin/python -m pip install -qq grpcio-tools==1.75.1
	.venv/proto/bin/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. loadgen/oip/inference.proto

bench: $(STAMP) ## run the benchmarks; their JSON is kept in .benchmarks
	$(BIN)/python -m pytest benchmarks --benchmark-autosave

bench-c: $(STAMP) ## client and chain against a client in C
	$(BIN)/python benchmarks/client_vs_c.py
	$(BIN)/python benchmarks/chain_vs_c.py

bench-compare: $(STAMP) ## what HEAD costs of the revision BASE (HEAD~1), interleaved; further options in ARGS
	$(BIN)/python benchmarks/compare.py $(BASE) $(ARGS)

clean: ## remove .venv, caches and builds; results stay
	rm -rf .venv build dist *.egg-info .*_cache .benchmarks .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
