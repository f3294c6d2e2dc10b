# Python 3.11 or newer and make are all that is needed: `make demo` and `make test` build .venv themselves.

PYTHON ?= python3
DEMO ?= runs/demo

# Tests to run: `make test TESTS=tests/masking`, or `make test TESTS="-k causal"`.
TESTS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# The scorers of two public benchmarks, for the tests of our exports. They ask for versions of numpy, pandas and torch
# that are not those of this environment, though they run with these: so they lie in a folder of their own.
SCORERS := $(VENV)/scorers

# PyPI's torch for Linux brings several GB of CUDA libraries. Without an NVIDIA driver the CPU build is taken from
# PyTorch's own index, where its version (2.13.0+cpu) counts as newer than PyPI's 2.13.0. torch is installed alone
# and first, so that only this one look-up goes there; where that host cannot be reached, pip says so within half a
# minute and takes torch from its usual index. For another build: make env TORCH_INDEX="--index-url URL".
ifeq ($(shell uname -s)$(shell command -v nvidia-smi 2>/dev/null),Linux)
TORCH_INDEX ?= --extra-index-url https://download.pytorch.org/whl/cpu
endif

.DEFAULT_GOAL := help
.PHONY: help env test lint types coverage docs wheel hooks demo demo-mtm demo-temporal demo-folder-is-new ablation
.PHONY: ablation-settings bench bench-gpu faults slurm-up slurm-down clean env-oldest test-fast test-oldest test-newest audit
.DELETE_ON_ERROR:

help:
	@echo "make demo    simulate sessions, pretrain, fine-tune on held-out animals, compare (minutes on two CPU cores)"
	@echo "make ablation DATA=DIR"
	@echo "             train and test every variant of conf/ablation/ on prepared sessions; the paper's tables"
	@echo "make bench   speed of training, loading and testing on the CPU (about a quarter of an hour), into"
	@echo "             benchmarks/results/; make bench-gpu: the same on a GPU (five minutes)"
	@echo "make faults  the long campaigns of damaged files, of files of another content, of killed processes and of odd"
	@echo "             options: $(FLIPS), $(CHANGES), $(KILLS) and $(ODD) cases"
	@echo "make test    all tests, those of make lint and make wheel among them"
	@echo "make test-fast"
	@echo "             those that show within two minutes that it works: files, all architectures, one whole road"
	@echo "make test-oldest"
	@echo "             the same on the oldest versions that setup.cfg admits, in $(OLDEST); make test-newest:"
	@echo "             on the newest ones, in $(NEWEST)"
	@echo "make audit   known vulnerabilities of the versions of constraints.txt (needs the network)"
	@echo "make lint    only what is read and not run: ruff, import rules, types, recipes, pages"
	@echo "make types   the type checker alone"
	@echo "make coverage"
	@echo "             all tests, and which lines of src/ none of them runs: $(UNCOVERED)"
	@echo "make docs    the site of docs/ with the API reference, into build/docs; a warning is an error"
	@echo "make wheel   build dist/*.whl, which holds the programs and the recipes"
	@echo "make hooks   check each commit by ruff and ty (pre-commit)"
	@echo "make env     only build $(VENV), with the versions of constraints.txt"
	@echo "make slurm-up"
	@echo "             a Slurm of two nodes on this machine, in $(CLUSTER) (root; Debian's slurm-wlm and munge);"
	@echo "             make slurm-down stops it"
	@echo "make clean   remove caches and build leftovers; $(VENV) and runs/ stay"
	@echo "Variables: PYTHON=$(PYTHON)  DEMO=$(DEMO)  TESTS=$(TESTS)"
	@echo "of other versions: OLDEST_PYTHON=$(OLDEST_PYTHON)  NEWEST_PYTHON=$(NEWEST_PYTHON)  OLDEST_TORCH=$(OLDEST_TORCH)"
	@echo "of the ablation: ABLATION=$(ABLATION)  ROLE=$(ROLE)  MODEL=$(MODEL)  TRAINER=$(TRAINER)"
	@echo "                 EPOCHS=$(EPOCHS)  OPTIONS=$(OPTIONS)  VARIANTS, PROMPTS (which of them)"

# ---- environment ----

env: $(INSTALLED)

# venv writes bin/pip last: a folder without it is a left-over of an interrupted try.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "neuromtm needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo not to be had)." \
	         "Name another: make env PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV) || \
	  { echo "$(PYTHON) could not make a virtual environment (on Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }

$(INSTALLED): setup.cfg constraints.txt | $(BIN)/pip
	$(BIN)/pip install --no-deps --retries 1 --timeout 15 $(TORCH_INDEX) --constraint constraints.txt torch
	$(BIN)/pip install --constraint constraints.txt --editable ".[ibl,search,test,docs]"
	$(BIN)/pip check
	$(BIN)/pip install --no-deps --upgrade --constraint constraints.txt --target $(SCORERS) nlb_tools ibl-bwb-eval
	@touch $@

# ---- checks ----

# MEASURE=1 measures which lines the tests run; the processes that tests start are measured too.
MEASURE ?=
COVERAGE := .coverage
UNCOVERED := $(COVERAGE)/uncovered.txt

test: $(INSTALLED)
	@mkdir -p $(COVERAGE)
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile \
	  $(if $(MEASURE),--cov --cov-report=term:skip-covered) $(TESTS)

lint: types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/python -m tests.e2e.recipes
	$(BIN)/python -m tests.docs.check

types: $(INSTALLED)
	$(BIN)/ty check

# pytest prints the total; TESTS works as for `make test`
coverage:
	@$(MAKE) --no-print-directory test MEASURE=1
	@$(BIN)/coverage report --include 'src/*' --skip-covered --show-missing > $(UNCOVERED)
	@echo "Lines of src/ that no test runs: $(UNCOVERED)"

docs: $(INSTALLED)
	$(BIN)/sphinx-build --quiet --fresh-env --fail-on-warning docs build/docs
	@echo "Site: build/docs/index.html"

# build/ may hold files of an earlier build, which setuptools would pack as well
wheel: $(INSTALLED)
	rm -rf build/lib build/bdist.*
	$(BIN)/pip wheel --no-deps --no-build-isolation --wheel-dir dist .

# ---- other versions ----

# What the package does, in short: files, simulation, description, masks and losses, every architecture, one whole road
# from a pretraining to a comparison, checkpoints, a search, the files of the International Brain Laboratory.
FAST := tests/test_files.py tests/data/test_dataset.py tests/data/test_shards.py tests/masking/test_objective.py \
  tests/science/test_loss_by_hand.py tests/training/test_checkpoint.py tests/e2e/test_road.py \
  tests/data_prep/test_describe.py \
  tests/data_prep/contract/test_all_sources.py::test_the_shard_is_that_of_the_recording \
  tests/models/test_contract.py::test_rates_have_the_shape_of_the_counts_and_states_one_size_for_all_sessions \
  tests/models/test_contract.py::test_a_few_steps_lower_the_loss \
  tests/models/test_contract.py::test_a_checkpoint_s_record_builds_the_same_model \
  tests/api/test_saved.py::test_a_saved_model_is_the_same_model \
  tests/baselines/test_baselines.py::test_a_baseline_stands_in_a_comparison_and_has_a_page \
  tests/commands/test_cli.py::test_the_help_says_every_option_with_its_meaning \
  tests/commands/test_search.py::test_a_search_trains_its_trials_and_goes_on_later \
  -k "not real_recordings"
# what they need beside the package
FAST_NEEDS := pytest pytest-timeout pytest-xdist hypothesis

OLDEST := .venv-oldest
NEWEST := .venv-newest
OLDEST_PYTHON ?= $(shell command -v python3.11 || echo $(PYTHON))
NEWEST_PYTHON ?= $(PYTHON)
# Another one where no CPU build of the oldest torch can be had: it would bring 3 GB of CUDA libraries.
OLDEST_TORCH ?= $(shell sed -n 's/^torch==//p' constraints-oldest.txt)

test-fast: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile $(FAST)

env-oldest: $(OLDEST)/.torch-$(OLDEST_TORCH)

test-oldest: env-oldest
	$(OLDEST)/bin/python -m pytest --numprocesses auto --dist loadfile $(FAST)

$(OLDEST)/.torch-$(OLDEST_TORCH): setup.cfg constraints-oldest.txt
	$(OLDEST_PYTHON) -m venv --clear $(OLDEST)
	sed 's/^torch==.*/torch==$(OLDEST_TORCH)/' constraints-oldest.txt > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/pip install --no-deps --retries 1 --timeout 15 $(TORCH_INDEX) \
	  --constraint $(OLDEST)/constraints.txt torch
	$(OLDEST)/bin/pip install --constraint $(OLDEST)/constraints.txt --editable ".[ibl,search]" $(FAST_NEEDS)
	$(OLDEST)/bin/pip check
	@touch $@

# Built anew each time: the newest versions of today.
test-newest:
	$(NEWEST_PYTHON) -m venv --clear $(NEWEST)
	$(NEWEST)/bin/pip install --no-deps --retries 1 --timeout 15 $(TORCH_INDEX) torch
	$(NEWEST)/bin/pip install --editable ".[ibl,search]" $(FAST_NEEDS)
	$(NEWEST)/bin/pip check
	$(NEWEST)/bin/python -m pytest --numprocesses auto --dist loadfile $(FAST)

# PyPI is asked about each version; AUDIT_SERVICE=osv asks osv.dev. A version that the service does not know is an error.
AUDIT := .venv-audit
AUDIT_SERVICE ?= pypi

audit: $(AUDIT)/bin/pip-audit
	@$< --strict --no-deps --disable-pip --vulnerability-service $(AUDIT_SERVICE) --requirement constraints.txt || \
	  { echo "If a vulnerability is listed, raise its line in constraints.txt to a version that mends it, then" \
	         "make test. If nothing is listed, $(AUDIT_SERVICE) did not answer: try make audit AUDIT_SERVICE=osv," \
	         "or a machine that reaches it." >&2; exit 1; }

$(AUDIT)/bin/pip-audit:
	$(PYTHON) -m venv --clear $(AUDIT)
	$(AUDIT)/bin/pip install "pip-audit >= 2.10"

# ---- damage ----

# Damaged and changed files are read, and processes killed at random moments; `make test` has a short run of each.
FLIPS ?= 450
CHANGES ?= 1000
KILLS ?= 20
ODD ?= 1200

faults: export NEUROMTM_ALLOW ?= tests
faults: export OMP_NUM_THREADS ?= 1
faults: $(INSTALLED)
	$(BIN)/python -m tests.faults.flips --n $(FLIPS) --seed 1
	$(BIN)/python -m tests.faults.structure --n $(CHANGES) --seed 1
	$(BIN)/python -m tests.faults.kills --n $(KILLS)
	$(BIN)/python -m tests.faults.options --n $(ODD) --seed 1 --bases

bench: $(INSTALLED)
	$(BIN)/python benchmarks/run.py --device cpu

bench-gpu: $(INSTALLED)
	$(BIN)/python benchmarks/run.py --device cuda

hooks: $(INSTALLED)
	$(BIN)/pre-commit install

# ---- a cluster on this machine ----

# Two in different folders need different ports: make slurm-up CLUSTER=/tmp/other SLURM_PORT=18000
CLUSTER ?= .slurm
SLURM_PORT ?= 16817
# that a node gives away, whatever the machine has
CPUS ?= 2

slurm-up slurm-down: slurm-%:
	@CLUSTER=$(abspath $(CLUSTER)) PORT=$(SLURM_PORT) CPUS=$(CPUS) tests/slurm/cluster.sh $*

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache $(COVERAGE) docs/api
	find src data_prep tests -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- demo ----

# Six simulated mice. The models learn from four of them with two kinds of masking, are fine-tuned on the other two,
# and are held against factor analysis of each of these alone, and against the best possible prediction, which a
# simulation knows.
# One thread: a tiny model gains nothing from two (40 steps: 8 s either way on two idle cores), and waiting threads
# that spin cost much where others use the machine too (33-44 s instead of 9 s on two busy ones).
demo: export OMP_NUM_THREADS ?= 1
QUICK := --config conf/debug/quick.yaml --data.root $(DEMO)/data

demo: demo-folder-is-new $(INSTALLED)
	$(BIN)/python -m data_prep simulate --out $(DEMO)/data --n-sessions 6 --n-heldout 2 \
	  --n-neurons 90 --bin-size-s 0.04
	@echo "Both models train side by side, one on each core. Curves: $(BIN)/tensorboard --logdir $(DEMO)"
	$(MAKE) --no-print-directory -j2 demo-mtm demo-temporal
	$(BIN)/neuromtm baseline --kind factor_analysis --data $(DEMO)/data --out $(DEMO)/factor_analysis
	$(BIN)/neuromtm ceiling --data $(DEMO)/data --out $(DEMO)/ceiling
	$(BIN)/neuromtm compare factor_analysis=$(DEMO)/factor_analysis temporal=$(DEMO)/temporal/finetune \
	  mtm=$(DEMO)/mtm/finetune ceiling=$(DEMO)/ceiling --ceiling ceiling --out $(DEMO)/summary.json
	@echo
	@echo "Table:       $(DEMO)/summary.json"
	@echo "Plots:       $(DEMO)/mtm/finetune/figures and $(DEMO)/temporal/finetune/figures"
	@echo "Per neuron:  $(DEMO)/mtm/finetune/neurons.csv"
	@echo "Curves:      $(BIN)/tensorboard --logdir $(DEMO)"

demo-temporal: MASKING := --config conf/ablation/temporal.yaml
demo-mtm demo-temporal: demo-%:
	$(BIN)/neuromtm fit --config conf/small.yaml $(MASKING) $(QUICK) --run_dir $(DEMO)/$*/pretrain
	$(BIN)/neuromtm fit --config conf/small_finetune.yaml $(QUICK) --trainer.max_epochs 60 \
	  --run_dir $(DEMO)/$*/finetune --model.pretrained $(DEMO)/$*/pretrain/checkpoints/best.ckpt
	$(BIN)/neuromtm test --config $(DEMO)/$*/finetune/config.yaml --ckpt_path $(DEMO)/$*/finetune/checkpoints/best.ckpt

demo-folder-is-new:
	@test ! -e $(DEMO) || { echo "$(DEMO) exists, and its results are not overwritten." \
	  "Remove the folder (rm -r $(DEMO)), or keep it and take another: make demo DEMO=$(DEMO)2" >&2; exit 1; }

# ---- ablation ----

# One model for each variant, on the same sessions and for the same number of steps, tested on the test trials of
# these sessions. A run that is tested already stays, and one that was stopped goes on: start an interrupted ablation
# again by the same command. Several trainings side by side: make -j4 ablation DATA=DIR
DATA ?=
ABLATION ?= runs/ablation
ROLE ?= pretrain
MODEL ?= conf/model/tiny.yaml
TRAINER ?= conf/trainer/cpu.yaml
EPOCHS ?= 100
# Laid over all else: make ablation DATA=DIR OPTIONS="--model.lr 0.001 --data.min_firing_rate_hz 0.5"
OPTIONS ?=

# `mtm` is the recipe as it is, and the reference of the ratios and of the position.
SCHEMES := temporal neuron causal intra_region inter_region no_prompt mtm
RATIOS := mtm ratio_0.1 ratio_0.3 ratio_0.6
# whichever the model size does not have
POSITIONS := mtm $(if $(shell grep -s 'rope: true' $(MODEL)),learned_positions,rope)
VARIANTS ?= $(SCHEMES) $(filter-out mtm,$(RATIOS) $(POSITIONS))
# Prompts with which the multi-task model is asked all tasks, beside the task's own.
PROMPTS ?= neuron causal intra_region inter_region

ABLATION_RUNS := $(VARIANTS:%=$(ABLATION)/%/metrics.json)
ABLATION_ASKED := $(if $(filter mtm,$(VARIANTS)),$(PROMPTS:%=$(ABLATION)/mtm/asked_%/metrics.json))
ABLATION_SETTINGS = DATA=$(DATA) ROLE=$(ROLE) MODEL=$(MODEL) TRAINER=$(TRAINER) EPOCHS=$(EPOCHS) OPTIONS=$(OPTIONS)

ablation: export OMP_NUM_THREADS ?= 1
ablation: export SETTINGS = $(ABLATION_SETTINGS)

# Printed in the end, when all trainings are: $(call table,FOLDER,TITLE,NAME=RUN ...), if there are two runs at least.
define table
$(if $(word 2,$(3)),@$(BIN)/neuromtm compare $(3) --out_dir $(ABLATION)/tables/$(1) > /dev/null
@printf '\n== %s ==\n\n' '$(2)' && cat $(ABLATION)/tables/$(1)/comparison.md)
endef
runs = $(foreach one,$(filter $(VARIANTS),$(1)),$(one)=$(ABLATION)/$(one))

ablation: $(ABLATION_RUNS) $(ABLATION_ASKED)
	$(call table,schemes,Masking schemes,$(call runs,$(SCHEMES)))
	$(call table,ratios,Mask ratios of multi-task masking,$(call runs,$(RATIOS)))
	$(call table,positions,Positions,$(call runs,$(POSITIONS)))
	$(call table,prompts,The prompt that the multi-task model is asked with,$(if $(ABLATION_ASKED),\
	  own=$(ABLATION)/mtm $(foreach one,$(PROMPTS),$(one)=$(ABLATION)/mtm/asked_$(one))))
	@printf '\n%s\n' "Tables and plots: $(ABLATION)/tables"

$(ABLATION_RUNS): $(ABLATION)/%/metrics.json: | ablation-settings $(INSTALLED)
	$(BIN)/neuromtm fit --config conf/pretrain.yaml --config $(MODEL) --config $(TRAINER) \
	  --config conf/debug/demo.yaml $(if $(filter-out mtm,$*),--config conf/ablation/$*.yaml) \
	  --data.root $(DATA) --data.role $(ROLE) --trainer.max_epochs $(EPOCHS) --behavior.validate false \
	  --figures.n_val_sessions 0 $(OPTIONS) --run_dir $(ABLATION)/$* --auto_resume true
	$(BIN)/neuromtm test --config $(ABLATION)/$*/config.yaml --ckpt_path $(ABLATION)/$*/checkpoints/best.ckpt

$(ABLATION_ASKED): $(ABLATION)/mtm/asked_%/metrics.json: | $(ABLATION)/mtm/metrics.json
	$(BIN)/neuromtm test --config $(ABLATION)/mtm/config.yaml --ckpt_path $(ABLATION)/mtm/checkpoints/best.ckpt \
	  --activity.prompt $* --run_dir $(ABLATION)/mtm/asked_$*

# Runs of other data or options in one table would not compare. Until a training has started they may change.
ablation-settings:
	@test -e "$(DATA)/manifest.json" || { echo "DATA=$(DATA) is no folder of prepared sessions." \
	  "Name one: make ablation DATA=DIR" >&2; exit 1; }
	@mkdir -p $(ABLATION)
	@ls $(ABLATION)/*/config.yaml > /dev/null 2>&1 || printf '%s\n' "$$SETTINGS" > $(ABLATION)/settings.txt
	@printf '%s\n' "$$SETTINGS" | cmp -s - $(ABLATION)/settings.txt || { \
	  echo "$(ABLATION) was begun with $$(cat $(ABLATION)/settings.txt)." \
	    "Give the same again, or another folder: make ablation ABLATION=$(ABLATION)2 ..." >&2; exit 1; }
