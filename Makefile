# Each target works from nothing: it makes the virtual environment first. VENV sets its folder.
VENV ?= .venv
PYTHON ?= python3
# Test processes, about 1.5 GB each; with one thread each they share two cores without waiting for each other.
WORKERS ?= 2
BIN := $(VENV)/bin
# mkdocs-material needs a newer requests than torchattacks allows: the site has an environment of its own.
SITE := $(VENV)-site
# Compiled modules are kept: without them every command that a test starts compiles all of torch again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test sweep fuzz lint docs site results clean

demo: $(BIN)/robust-aigen
	$(BIN)/robust-aigen run scenarios/pgd_eps4.yaml

test: $(BIN)/pytest $(SITE)/bin/mkdocs
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal

# Every attack of every library, every shipped detector, lost machines: half as long again as all other tests.
sweep: $(BIN)/pytest
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal -m sweep

# Ten minutes for each reader of strangers' files; MINUTES and LOADERS change that.
MINUTES ?= 10
fuzz: $(BIN)/pytest
	$(BIN)/python -m pip install --quiet -e ".[fuzz]"
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.fuzzing $(LOADERS) --minutes $(MINUTES)

lint: $(BIN)/pytest
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The parts of documents that list registered things, and other generated files.
docs: $(BIN)/pytest
	$(BIN)/python -m benchmarks.documents

# The documentation site: build/site/index.html opens from disk.
site: $(SITE)/bin/mkdocs
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --strict

# The committed tables and figures of every scenario on minigen.
results: $(BIN)/robust-aigen
	$(BIN)/python -m benchmarks.reference_results

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(BIN)/robust-aigen: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

# Compiled when imported: most of what the extras bring never is, and a third of the installation is compiling.
$(BIN)/pytest: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile -e ".[dev]"
	@touch $@ $(BIN)/robust-aigen

$(SITE)/bin/mkdocs: docs/requirements.txt
	$(PYTHON) -m venv $(SITE)
	$(SITE)/bin/python -m pip install --quiet --no-compile -r docs/requirements.txt
	@touch $@

clean:
	rm -rf $(VENV) $(SITE) build dist .pytest_cache .mypy_cache .ruff_cache
