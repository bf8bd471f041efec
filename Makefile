# Each verb does all the set-up that it needs: python3 (3.11 or newer) with its venv module is enough to begin with.

PYTHON ?= python3
DURATION ?= 120
ARGS ?=

BIN := .venv/bin
RUN := .venv/.saturate
ALL := .venv/.installed
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check install -qq --constraint constraints.txt
EVERY := tensorflow lightgbm sklearn onnx docker redis oip gpu peers docs
EXTRAS ?=
comma := ,
space := $() $()

# extra $(1): where its dependencies have no wheel for this machine, say in one line what will not work ($(2)), and go on.
define extra
echo "installing the extra $(1)"; \
$(PIP_INSTALL) --only-binary :all: --editable '.[$(1)]' >.venv/$(1).log 2>&1 || \
	echo "left out: the extra $(1) cannot be installed here, so $(2) (reason: .venv/$(1).log)"
endef

QUICK := not (browser or docker or end_to_end or evidence or models or ray or servers)
SERIAL := tests/end_to_end tests/servers
WORKERS ?= auto
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --maxprocesses 4 --dist loadgroup --no-loadscope-reorder --durations 25 --durations-min 1

BASE ?= HEAD~1

SOAK ?= 1800

# A list with commas or spaces, as pip has it.
list = $(subst $(space),$(comma),$(strip $(subst $(comma),$(space),$(1))))

.PHONY: help install some saturate test test-quick evidence soak fuzz gpu-check gpu-wheels check audit format docs tables pictures schema proto bench bench-compare bench-gate bench-c clean

help: ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16

install: $(if $(strip $(EXTRAS)),some,$(ALL)) ## make .venv with every extra that has a wheel here; EXTRAS=onnx,oip: with these only

# Without the tools for development, which are half of everything.
some: pyproject.toml constraints.txt | .venv/bin/pip
	@echo "installing loadgen with $(call list,$(EXTRAS))"
	@$(PIP_INSTALL) --editable '.[$(call list,$(EXTRAS))]'
	@echo "next: source .venv/bin/activate"

.venv/bin/pip:
	@command -v $(PYTHON) >/dev/null || \
		{ echo "$(PYTHON) is not there: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$$($(PYTHON) --version) is too old: 3.11 or newer is needed; name one: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) has no venv module: install it (Debian: apt-get install python3-venv)"; exit 1; }
	@echo "making .venv"
	@$(PYTHON) -m venv .venv

# What `make saturate` needs, which is a third of everything.
$(RUN): pyproject.toml constraints.txt | .venv/bin/pip
	@echo "installing loadgen"
	@$(PIP_INSTALL) --editable .
	@$(call extra,tensorflow,vgg and inception will not load)
	@touch $@

# All at once takes a quarter of the time; extra by extra is for a machine that lacks a wheel.
$(ALL): pyproject.toml constraints.txt | .venv/bin/pip
	@echo "installing loadgen, its tools and its extras"
	@$(PIP_INSTALL) --only-binary :all: --editable '.[dev,$(call list,$(EVERY))]' >.venv/all.log 2>&1 || { \
	$(PIP_INSTALL) --editable '.[dev]' || exit 1; \
	$(call extra,tensorflow,vgg and inception will not load); \
	$(call extra,lightgbm,lgbm will not load); \
	$(call extra,sklearn,elastic-net and kernel-svm and kpca-svm will not load); \
	$(call extra,onnx,models from ONNX files will not load); \
	$(call extra,docker,loadgen cannot talk to a Docker engine); \
	$(call extra,redis,frontends cannot share their configuration through Redis); \
	$(call extra,oip,servers of the Open Inference Protocol cannot be loaded); \
	$(call extra,gpu,GPUs are not watched); \
	$(call extra,peers,benchmarks have no other load generators beside ours); \
	$(call extra,docs,make docs cannot build the site); }
	@touch $(RUN) $@

saturate: $(RUN) ## saturate Inception V3 for DURATION seconds (120), with further options in ARGS
	$(BIN)/loadgen saturate --model inception --batch-size 2 --duration $(DURATION) --allow-invalid $(ARGS)

test: $(ALL) ## run all tests; COVERAGE=1 shows which branches they take
	$(PYTEST) -m 'not (evidence or serial)' $(if $(COVERAGE),--cov --cov-report=)
	$(BIN)/python -m pytest -m serial $(SERIAL) $(if $(COVERAGE),--cov --cov-append --cov-report=term-missing:skip-covered)

test-quick: $(ALL) ## run the tests that need no server, container, browser or framework, within a minute
	$(PYTEST) -m '$(QUICK)' $(if $(COVERAGE),--cov --cov-report=term-missing:skip-covered)

gpu-check: ## check placement, GPUs, their figures and energy where there is a GPU: PYTHON names a Python with PyTorch
	@$(PYTHON) tests/support/gpu_check.py

gpu-wheels: $(RUN) ## fetch what gpu-check takes along to a machine without a network, for Python 3.12, into wheels/
	$(BIN)/python tests/support/gpu_check.py --fetch 3.12

evidence: $(ALL) ## run what takes long and shows a promise; its tables are kept in docs/evidence
	$(BIN)/python -m pytest -m evidence
	$(BIN)/python -m pytest -m 'hypothesis and $(QUICK)' --hypothesis-profile=evidence

soak: $(ALL) ## kill or stop a replica every 20 s for SOAK seconds (1800) at full speed; kept in docs/evidence
	LOADGEN_SOAK_S=$(SOAK) $(BIN)/python -m pytest tests/evidence/test_soak.py

fuzz: $(ALL) ## send a million messages with something wrong to each socket of a frontend; LOADGEN_FUZZ says how many
	$(BIN)/python -m pytest -s tests/evidence/test_fuzz.py

check: $(ALL) ## lint, formatting, types, import contracts, licences, words
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/support/licences.py
	$(BIN)/python tests/support/words.py

audit: $(ALL) ## ask an advisory database about the pinned versions; LOADGEN_ADVISORIES names another one
	$(BIN)/python tests/support/audit.py

format: $(ALL) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: tables ## write the generated pages anew and build the site in build/docs: strict, links checked, no network
	$(BIN)/python tests/support/docs_site.py

tables: $(ALL) ## write the generated pages anew: modules, licences, options, exit codes, results, Python API
	$(BIN)/python tests/support/module_tables.py
	$(BIN)/python tests/support/licences.py --write
	$(BIN)/python tests/support/reference_pages.py

pictures: $(ALL) ## draw docs/pictures anew; those of the page need chromium
	$(BIN)/python tests/support/pictures.py --page

schema: $(ALL) ## write the schema of the results document anew, after a change of its classes
	$(BIN)/python -m loadgen.results.schema

proto: $(ALL) ## make the modules of the protocol's messages anew, after a change of inference.proto
	$(PYTHON) -m venv .venv/proto && .venv/proto/bin/python -m pip install -qq grpcio-tools==1.75.1
	.venv/proto/bin/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. loadgen/targets/oip/inference.proto

bench: $(ALL) ## run the benchmarks; their JSON and a line of history.jsonl are kept in .benchmarks
	$(BIN)/python -m pytest benchmarks --benchmark-autosave

bench-c: $(ALL) ## client and chain against a client in C
	$(BIN)/python benchmarks/client_vs_c.py
	$(BIN)/python benchmarks/chain_vs_c.py

bench-compare: $(ALL) ## what HEAD costs of the revision BASE (HEAD~1), interleaved; further options in ARGS
	$(BIN)/python benchmarks/compare.py $(BASE) $(ARGS)

bench-gate: $(ALL) ## fail where HEAD costs more than the last release, or than RELEASE; further options in ARGS
	$(BIN)/python benchmarks/gate.py $(RELEASE) $(ARGS)

clean: ## remove .venv, caches and builds; results stay
	rm -rf .venv .gpu-check build dist *.egg-info .*_cache .benchmarks .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
