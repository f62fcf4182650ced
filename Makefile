# Two lanes, one set of commands for people and CI:
#   .venv         Python 3.10 with concrete-numpy
#   .venv-modern  Python 3.11 or 3.12 with concrete-python
# Each target sets up what it needs and does nothing twice.

.PHONY: thorough demo check test bench lint docs wheel setup clean
.DEFAULT_GOAL := test
SHELL := /bin/bash

# The first interpreter of the given versions that really runs (a pyenv shim may not).
find_python = $(shell for version in $(1); do \
	for python in $$(type -ap python$$version) $$HOME/.pyenv/versions/$$version.*/bin/python \
			$$(command -v uv >/dev/null && uv python find --no-project $$version 2>/dev/null); do \
		"$$python" -c "import ensurepip, sys; sys.exit('%d.%d' % sys.version_info[:2] != '$$version')" \
			>/dev/null 2>&1 && echo "$$python" && exit; \
	done; done)
PYTHON_CLASSIC := $(call find_python,3.10)
PYTHON_MODERN := $(call find_python,3.12 3.11)

LANES := $(if $(PYTHON_CLASSIC),.venv) $(if $(PYTHON_MODERN),.venv-modern)
LANE := $(firstword $(LANES))
RUST_SOURCES := Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -o -name Cargo.toml | grep -v /target/)

ifeq ($(strip $(LANES)),)
$(error Secateur needs Python 3.10 (or 3.11, 3.12) with its venv module; install one, for example with "pyenv install 3.10")
endif
ifeq ($(shell command -v cargo),)
$(error Secateur needs the Rust toolchain (cargo) to build its engine; install it from your system's packages or with rustup)
endif

demo: $(LANE)/.built
	$(LANE)/bin/python examples/classifier.py
	$(LANE)/bin/python examples/digits.py

# What a contributor runs: style, types, and the fast tests of one lane.
check: $(LANE)/.built
	$(LANE)/bin/ruff format --check .
	$(LANE)/bin/ruff check .
	$(LANE)/bin/mypy
	HYPOTHESIS_PROFILE=quick $(LANE)/bin/python -m pytest --quiet --numprocesses auto \
		-m "not slow and not encrypted and not table and not whole" tests

test: lint $(LANES:=/.built)
	cargo test --release --workspace
	$(MAKE) --no-print-directory --jobs 2 --output-sync=target $(LANES:%=test-in-%)

# One lane's tests; the lanes run side by side, and each shows its output when it is done. What
# starts and kills processes by the dozen has an interpreter that no compiler was loaded into.
test-in-%:
	@echo "== $*: $$($*/bin/python --version)"
	$*/bin/python -m pytest -o cache_dir=$*/.pytest_cache -m "not slow and not whole"
	$*/bin/python -m pytest -o cache_dir=$*/.pytest_cache -m "whole and not slow"

# What takes more than some seconds each: whole tables, clean environments, the site.
thorough: $(LANES:=/.built)
	for lane in $(LANES); do $$lane/bin/python -m pytest -m slow || exit 1; done

lint: $(LANE)/.built
	cargo fmt --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	$(LANE)/bin/ruff format --check .
	$(LANE)/bin/ruff check .
	$(LANE)/bin/mypy
	$(LANE)/bin/python -m mypy.stubtest secateur._native

bench: $(LANE)/.built
	cargo bench --workspace
	$(LANE)/bin/python -m pytest benches --benchmark-enable
	$(LANE)/bin/python -m benches

docs: $(LANE)/.built
	NO_MKDOCS_2_WARNING=1 $(LANE)/bin/python -m mkdocs build --strict --site-dir target/site
	@echo "the site is in target/site/index.html"

# One wheel serves every Python from 3.10 on.
wheel: $(LANE)/.built
	$(LANE)/bin/python -m maturin build --release --out target/wheels

setup: $(LANES:=/.built)

# Third-party packages, again only when their list changes.
.venv/.packages: pyproject.toml
	$(call install_packages,$(PYTHON_CLASSIC),.venv)
.venv-modern/.packages: pyproject.toml
	$(call install_packages,$(PYTHON_MODERN),.venv-modern)

define install_packages
	@echo "== $(2): an environment of $$($(1) --version) and the tools of development (1 to 3 minutes)"
	@test -x $(2)/bin/python || $(1) -m venv $(2)
	@$(2)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	@$(2)/bin/python -m pip install --quiet --group dev
	@touch $@
endef

# The package itself, its engine compiled, with every extra.
%/.built: %/.packages $(RUST_SOURCES)
	@echo "== $*: compiling the engine, and every extra, torch and the backend among them (2 to 6 minutes)"
	@$*/bin/python -m pip install --quiet --no-build-isolation --editable ".[all]"
	@touch $@

clean:
	rm -rf .venv .venv-modern target
