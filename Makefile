# The commands of the project. Each can be repeated; the second time is quick.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help start install binaries test unit check demo bench faults history differential soak fuzz mutants picture lock clean

help:            ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

start: install   ## run kcp (set-up included)
	@$(BIN)/kcp start $(ARGS)

install: .venv/installed  ## set-up alone: .venv with the programs kcp, kubectl-ws, kubectl-kcp, kubectl
	@# Where Python is told not to keep what it compiles, each process would compile the tree anew (half a CPU second).
	@$(BIN)/python -m compileall -q proxy syncer manifests
	@$(BIN)/kcp binaries fetch etcd kube-apiserver kube-controller-manager kubectl >/dev/null
	@ln -sfn "$$($(BIN)/python -c 'from proxy.binaries import find; print(find("kubectl").resolve())')" $(BIN)/kubectl

.venv/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; this is " + sys.version.split()[0])'
	@echo "making .venv"
	@rm -rf .venv
	@$(PYTHON) -m venv .venv >/dev/null 2>&1 || { \
	  rm -rf .venv; \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing python3-venv"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null; fi; \
	  $(PYTHON) -m venv .venv || { rm -rf .venv; echo "Python's venv module is missing (Debian: apt-get install python3-venv)" >&2; exit 1; }; }
	@touch $@

.venv/installed: .venv/pip pyproject.toml requirements/runtime.txt
	@echo "installing Python packages"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/developing: .venv/installed requirements/dev.txt
	@echo "installing Python packages for tests"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

binaries: .venv/installed  ## obtain every program that tests and demo need
	@$(BIN)/kcp binaries fetch >/dev/null

test: install .venv/developing binaries  ## everything the tests need, then all of them
	@$(BIN)/python -m tests.clusters install
	@$(BIN)/python -m tests.monitoring
	@$(BIN)/python -m tests.clients
	@$(BIN)/python -m tests $(ARGS)

unit: .venv/developing  ## the pure tests alone
	@$(BIN)/python -m pytest tests/unit $(ARGS)

check: .venv/developing  ## formatting, lint, types, import contracts, vulnerable packages
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache | tail -n 3
	@$(BIN)/python -m tests.vulnerable requirements/runtime.txt requirements/dev.txt requirements/picture.txt

demo: install .venv/developing binaries  ## the whole story: two teams, two physical clusters, real pods (ARGS="--runtime kwok" without root)
	@$(BIN)/python -m tests.clusters install
	@$(BIN)/python -m tests.e2e.demo $(ARGS)

bench: install .venv/developing  ## measure beside the direct kube-apiserver; writes build/bench.json
	@$(BIN)/python -m tests.bench $(ARGS)

faults: install .venv/developing  ## kill processes, cut networks, fill disks, set clocks wrong under load, then compare both sides (SEED=7, ARGS="--seconds 300")
	@$(BIN)/python -m tests.faults $(if $(SEED),--seed $(SEED)) $(ARGS)

history: install .venv/developing  ## kill every process, set its clock wrong under load, then see whether what clients were told can have been (SEED=7, ARGS="--seconds 60")
	@$(BIN)/python -m tests.history $(if $(SEED),--seed $(SEED)) $(ARGS)

differential: install .venv/developing  ## random requests to a workspace and to a kube-apiserver: SEED=7 REQUESTS=3000
	@$(BIN)/python -m tests.differential $(if $(SEED),--seed $(SEED)) $(if $(REQUESTS),--requests $(REQUESTS))

soak: install .venv/developing  ## mixed load from 200 workspaces for ten minutes, then: is anything left over (ARGS="--seconds 60")
	@$(BIN)/python -m tests.soak $(ARGS)

fuzz: .venv/developing  ## damaged and foreign bytes for all that reads them, ten minutes (ARGS="--seconds 60 --target mapping")
	@$(BIN)/python -m tests.fuzz $(ARGS)

mutants: .venv/developing  ## change the gate that confines requests in every way: each change must make a test fail
	@$(BIN)/python -m tests.mutation $(ARGS)

picture: install .venv/developing  ## draw the README's picture of a dashboard (six minutes)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/picture.txt
	@$(BIN)/python -m tests.monitoring
	@$(BIN)/python -m tests.monitoring.picture $(ARGS)

lock: .venv/developing  ## pin all Python packages again
	@$(BIN)/python -m pip install --quiet pip-tools
	@$(BIN)/pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header --extra build --extra cel -o requirements/runtime.txt pyproject.toml
	@$(BIN)/pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header --extra build --extra tracing --extra cel --extra dev -o requirements/dev.txt pyproject.toml
	@$(BIN)/pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header --extra picture -c requirements/dev.txt -o requirements/picture.txt pyproject.toml

clean:           ## remove what was built here (.kcp stays)
	@rm -rf .venv build dist *.egg-info
