# make demo         cluster a mouse cortex and draw its domains into demo_output/
# make test         run all tests and the examples in the documentation strings
# make lint         check style, spelling and types
# make docs         build the documentation into docs/_build/html; VERSION=0.1.0 builds that of a release within it
# make test-docs    open every page in headless Chromium, which has to be installed; needs make docs
# make test-oldest  run all tests on the oldest versions that pyproject.toml allows (PYTHON has to be 3.11)
# make test-scverse run the tests that need scanpy, squidpy and readers of platforms, in an environment with all
# make cuda         train on a GPU and on the CPU, side by side, with the packages that PYTHON has: no network is needed
# make dist         build the wheel and run the README's example from it
# Each sets itself up in .venv first; all it needs is Python 3.11 or newer and a package index.

PYTHON ?= python3
# The release that the tables of benchmarks/results were made with: last digits differ between releases.
# CPU only, far smaller:  make TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch==2.13.0

VENV := .venv
RUN := $(VENV)/bin/python
OLDEST := .venv-oldest
SCVERSE := .venv-scverse
BARE := .venv-bare

# Data sets kept beside the checkout are used where the environment names no other place.
ifeq ($(strip $(SKST_DATA_HOME)),)
ifneq ($(wildcard ../shared/data/.),)
export SKST_DATA_HOME := $(abspath ../shared/data)
endif
endif

# Two workers share the cores: one thread each, and memory is kept rather than faulted in again and again (glibc).
test test-oldest: export OMP_NUM_THREADS := 1
test test-oldest: export MALLOC_MMAP_MAX_ := 0
test test-oldest: export MALLOC_TRIM_THRESHOLD_ := 100000000000
test test-oldest: export MALLOC_TOP_PAD_ := 67108864
# Tests start many processes; each would compile the package anew where Python is told to keep nothing.
test test-oldest: export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test lint docs test-docs test-oldest test-scverse cuda dist

demo: $(VENV)/installed
	$(RUN) examples/demo_osmfish.py --output demo_output

test: $(VENV)/installed
	$(RUN) -m pytest -n 2

lint: $(VENV)/installed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(VENV)/bin/codespell
	$(RUN) -m mypy

docs: $(VENV)/docs
	$(RUN) -m sphinx -W --keep-going -b html $(if $(VERSION),-D docs_version=$(VERSION)) docs docs/_build/html/$(VERSION)

test-docs: docs
	$(RUN) -m pip install --quiet "playwright>=1.40"
	$(RUN) docs/check_pages.py docs/_build/html

# Once, so that pages build with no index in reach after that.
$(VENV)/docs: $(VENV)/installed
	$(RUN) -m pip install --quiet -e ".[docs]"
	@touch $@

# The list of oldest versions is what the bounds in pyproject.toml resolve to, and is kept nowhere else.  Compiled, since
# faults of syntax that packages are forgiven when they are installed are warnings, and so errors, in tests.  What
# old packages do that has been deprecated since is no fault of skst.
test-oldest: $(VENV)/installed
	$(RUN) -m uv venv --clear --python $(PYTHON) $(OLDEST)
	$(RUN) -m uv pip install --python $(OLDEST) --compile-bytecode --resolution lowest-direct -e ".[offline,test]"
	$(OLDEST)/bin/python -m pytest -n 2 -W ignore::DeprecationWarning -W ignore::FutureWarning

# setuptools, as a dependency of squidpy's still asks for its pkg_resources.
test-scverse: $(VENV)/installed
	$(RUN) -m uv venv --clear --python $(PYTHON) $(SCVERSE)
	$(RUN) -m uv pip install --python $(SCVERSE) $(TORCH) -e ".[test]" scanpy squidpy spatialdata-io polars "setuptools<81"
	$(SCVERSE)/bin/python -m pytest tests/test_scverse.py tests/test_platforms.py tests/test_set_output.py

# Where there is a GPU there may be no package index: nothing is installed.
cuda:
	$(PYTHON) -m benchmarks cuda
	$(PYTHON) -m benchmarks cuda_cost

dist: $(VENV)/installed
	rm -rf build dist
	$(RUN) -m build --outdir dist
	$(PYTHON) -m venv --clear $(BARE)
	$(BARE)/bin/python -m pip install $(TORCH)
	$(BARE)/bin/python -m pip install --quiet "$$(echo dist/*.whl)[offline]"
	$(BARE)/bin/python .ci/check_dist.py

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("skst needs Python 3.11 or newer: make PYTHON=/path/to/python3" if sys.version_info < (3, 11) else 0)'
	@echo "Setting up $(VENV): once, and again when pyproject.toml changes"
	$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(RUN) -m pip install $(TORCH)
	$(RUN) -m pip install --quiet -e ".[dev,offline,test]"
	@touch $@
