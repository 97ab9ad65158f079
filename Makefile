# make run    install, then materialize the demo of every paper
# make test   every test
# make lint   ruff, mypy, import-linter
# make bench  the benchmarks, a few minutes of CPU; docs/performance.md says what each measures
# make audit  bill of materials, licences, known vulnerabilities of the locked set; asks the package index
# make soak   `tenfold ui` left running for MINUTES (30) while its processes are killed at random
# make lock   resolve the pins again (needs uv)
# TENFOLD_TORCH=cuda takes the CUDA build of torch instead of the CPU one.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
TENFOLD_TORCH ?= cpu
MINUTES ?= 30
LOCK := requirements/$(TENFOLD_TORCH).txt
# The CPU build of torch is not on the default index. A wheel folder in PIP_FIND_LINKS that holds it comes first (offline machines).
ifeq ($(TENFOLD_TORCH),cpu)
TORCH_WHEEL := $(firstword $(foreach folder,$(PIP_FIND_LINKS),$(wildcard $(folder)/torch-*+cpu-*.whl)))
TORCH_INDEX ?= $(if $(TORCH_WHEEL),,--extra-index-url https://download.pytorch.org/whl/cpu)
endif

.PHONY: help install run test lint bench soak audit lock clean
help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

install: $(VENV)/.installed-$(TENFOLD_TORCH)
$(VENV)/.installed-$(TENFOLD_TORCH): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info[:2] == (3, 11) else "tenfold is pinned for Python 3.11; name one with make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked set into $(VENV) (a few minutes the first time)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCK) $(TORCH_INDEX)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	rm -f $(VENV)/.installed-*
	touch $@

$(VENV)/.tested: $(VENV)/.installed-$(TENFOLD_TORCH) requirements/extras.txt requirements/test.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/extras.txt -r requirements/test.txt
	touch $@

run: install
	$(BIN)/tenfold run

test: $(VENV)/.tested
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.tested
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

bench: install
	failed=; for file in benchmarks/[a-z]*.py; do echo "== $$file"; $(BIN)/python $$file || failed="$$failed $$file"; done; \
	test -z "$$failed" || { echo "targets missed in:$$failed"; exit 1; }

AUDIT := build/audit-env
$(AUDIT)/.installed: requirements/audit.txt
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

audit: $(VENV)/.tested $(AUDIT)/.installed
	$(AUDIT)/bin/python requirements/audit.py $(BIN)/python

soak: $(VENV)/.tested
	$(BIN)/python tests/soak.py --minutes $(MINUTES)

lock:
	python3 requirements/lock.py

clean:
	rm -rf $(VENV) build *.egg-info
