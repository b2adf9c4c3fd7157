# make demo    cluster a mouse cortex and draw its domains into demo_output/
# make test    run all tests and the examples in the documentation strings
# Both set themselves up in .venv first; all they need is Python 3.11 or newer and a package index.

PYTHON ?= python3
# CPU only, far smaller:  make TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch==2.13.0

VENV := .venv
RUN := $(VENV)/bin/python

# Data sets kept beside the checkout are used where the environment names no other place.
ifeq ($(strip $(SKST_DATA_HOME)),)
ifneq ($(wildcard ../shared/data/.),)
export SKST_DATA_HOME := $(abspath ../shared/data)
endif
endif

# Two workers share the cores: one thread each, and memory is kept rather than faulted in again and again (glibc).
test: export OMP_NUM_THREADS := 1
test: export MALLOC_MMAP_MAX_ := 0
test: export MALLOC_TRIM_THRESHOLD_ := 100000000000
test: export MALLOC_TOP_PAD_ := 67108864

.PHONY: demo test docs

demo: $(VENV)/installed
	$(RUN) examples/demo_osmfish.py --output demo_output

test: $(VENV)/installed
	$(RUN) -m pytest -n 2

docs: $(VENV)/installed
	$(RUN) -m pip install --quiet -e ".[docs]"
	$(RUN) -m sphinx -W --keep-going -b html docs docs/_build/html

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("skst needs Python 3.11 or newer: make PYTHON=/path/to/python3" if sys.version_info < (3, 11) else 0)'
	@echo "Setting up $(VENV): once, and again when pyproject.toml changes"
	$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(RUN) -m pip install $(TORCH)
	$(RUN) -m pip install --quiet -e ".[offline,test]"
	@touch $@
