# make demo: see three runs in line for one lock.  make check: before each commit.  make test: run the tests.
# PYTHON=python3.12 chooses the interpreter; otherwise the first one here that is 3.10 or newer.

VENV   := .venv
BIN    := $(VENV)/bin
# More than the cores of a small machine: many tests wait, for a lease or for a lock.
WORKERS ?= 8
# Few more: each worker imports all tests. 3 took 110 s on two quiet cores, 4 took 98, 6 took 104.
CHECKERS ?= 4

# The demo and the tests talk to nobody outside: Terraform's own check for new versions is off.
export CHECKPOINT_DISABLE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export NPM_CONFIG_AUDIT := false
export NPM_CONFIG_FUND := false
export NPM_CONFIG_UPDATE_NOTIFIER := false
# What is compiled is kept: the tests start Python a thousand times.
unexport PYTHONDONTWRITEBYTECODE
# Only errors: a pip that is set up for many indexes warns of each that has nothing.
PIP_INSTALL = $(BIN)/python -m pip --quiet --quiet install

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MINUTES ?= 60

.PHONY: help demo check test long lint package docs picture bench soak fuzz peers fresh man pins clean needs-terraform parts no-python

help:
	@echo "make demo   see three runs in line for one lock, and one of them die, in half a minute"
	@echo "make check  run lint, unit and contract tests: before each commit, in a minute or so"
	@echo "make test   run the tests, in some minutes"
	@echo "make long   run those that make test leaves out: more deliberate faults of the code's own"
	@echo "make lint   check style and types"
	@echo "make package build dist/, and check what a package page and an installer will make of it"
	@echo "make docs   make the tables of docs/ anew, and build its pages into site/; a lost link is an error"
	@echo "make picture play make demo, and draw what it shows as docs/picture.svg"
	@echo "make bench  measure against plain Terraform (about ten minutes; ARGS=--quick: two)"
	@echo "make soak   simulate, hold, kill and contend for long (MINUTES=60), and tell the figures"
	@echo "make fuzz   give every parser of strangers' bytes what it does not expect (MINUTES=60)"
	@echo "make peers  put the same failures before other locks, and the table into the docs"
	@echo "make fresh  run make demo and make test on a bare Debian, without and with terraform (needs root, debootstrap)"
	@echo "make pins   pin anew what the action installs, after a change of dependencies in pyproject.toml"
	@echo "make man    write share/man/man1/tfguard.1 anew, from what --help knows"
	@echo "make clean  remove .venv and caches"

demo: $(VENV)/.installed
	@$(BIN)/python -m demo

needs-terraform:
	@command -v terraform >/dev/null || command -v tofu >/dev/null || command -v "$$TFGUARD_TERRAFORM" >/dev/null || { \
	  echo "This needs terraform or tofu on PATH, or TFGUARD_TERRAFORM=/path/to/one. Get one:" >&2; \
	  echo "https://developer.hashicorp.com/terraform/install or https://opentofu.org/docs/intro/install" >&2; exit 1; }

check: lint
	$(BIN)/python -m pytest -n $(CHECKERS) --dist worksteal -m 'not (e2e or mutant or fuzz or slow or long)' $(ARGS)

test: parts $(VENV)/.installed-test
	$(BIN)/python -m tests.support.emulators || [ -z "$$TFGUARD_REQUIRE_EMULATORS" ]
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m 'not long' $(ARGS)

long: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m long $(ARGS)

# Before anything heavy is installed.
parts: $(VENV)/.created
	@$(BIN)/python -m tests.support.parts

lint: $(VENV)/.installed-test
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -m bandit --quiet --configfile pyproject.toml --recursive tfguard action

docs: $(VENV)/.installed $(VENV)/.installed-docs
	@$(BIN)/python -m tools.reference
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs --quiet build --strict

picture: needs-terraform $(VENV)/.installed
	$(BIN)/python -m tools.picture

# In an environment of its own: what builds is not what is built.
package: $(VENV)/.created
	@$(BIN)/python -m pip show --quiet build twine check-wheel-contents 2>/dev/null || $(PIP_INSTALL) build twine check-wheel-contents
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

bench: needs-terraform $(VENV)/.installed-test
	$(BIN)/python -m tests.support.emulators
	$(BIN)/python -m benchmarks $(ARGS)

# The long forms of what `make test` runs briefly.
soak: needs-terraform $(VENV)/.installed-test
	$(BIN)/python -m tests.support.emulators
	$(BIN)/python -m tests.soak --minutes $(MINUTES)

fuzz: $(VENV)/.installed-test
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES)

peers: needs-terraform $(VENV)/.installed-test
	$(BIN)/python -m tests.support.emulators
	$(BIN)/python -m tests.peers --write

# Whatever is committed is cloned into it. FRESH='--only without "make demo"', for example.
fresh:
	python3 -m tests.fresh $(FRESH)

man: $(VENV)/.installed
	$(BIN)/python -m tools.manpage

pins: $(VENV)/.installed-test
	$(BIN)/python -m tools.pins

clean:
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The stamps make the second time fast, and free of the network.
$(VENV)/.installed: pyproject.toml $(VENV)/.created
	$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/.installed-test: pyproject.toml $(VENV)/.created
	$(PIP_INSTALL) --editable '.[test]'
	@# Compiled once here, the tests need not be compiled by each of pytest's workers at the same time.
	@$(BIN)/python -m pytest --collect-only --quiet --quiet >/dev/null || true
	@touch $(VENV)/.installed $@

$(VENV)/.installed-docs: pyproject.toml $(VENV)/.created
	$(PIP_INSTALL) "mkdocs-material>=9.5,<10"
	@touch $@

# A .venv that is there already, half made or somebody's own, is completed and never cleared. Where its Python has been
# taken away since, as by an upgrade, the links to it lead nowhere; venv would keep them.
$(VENV)/.created: $(if $(realpath $(BIN)/python),,no-python)
	@for link in $(BIN)/python*; do [ -e "$$link" ] || rm -f "$$link"; done
	@for python in $(if $(PYTHON),"$(PYTHON)",python3 python3.14 python3.13 python3.12 python3.11 python3.10); do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || continue; \
	  echo "$$python -m venv $(VENV)"; \
	  "$$python" -m venv $(VENV) || { \
	    echo "$$python cannot make a virtual environment. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; \
	  $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 10))' && touch $@ && exit; \
	  echo "$(VENV) was made with a Python that does not run, or is older than 3.10. Remove it: make clean" >&2; exit 1; \
	done; \
	echo "tfguard needs Python 3.10 or newer, and $(if $(PYTHON),$(PYTHON) is none,there is none on PATH)." >&2; \
	echo "Say where one is: make $(or $(MAKECMDGOALS),demo) PYTHON=/path/to/python3" >&2; exit 1
