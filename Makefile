# Every target sets up what it needs; when nothing has changed, that costs no network and no time.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
# uv must use the Python that was found and never download another.
# Compile right away: many processes start at once, and some users forbid writing bytecode later.
INSTALL = UV_PYTHON_DOWNLOADS=never $(UV) pip install --quiet --compile-bytecode --python $(BIN)/python
COMPILE = UV_PYTHON_DOWNLOADS=never $(UV) pip compile --quiet --universal --python-version 3.11.2 \
	--generate-hashes --no-annotate --no-header $(call flag,UPGRADE,upgrade)

# Names that a shell may have for something else; they count where they follow the word make.
COMMON := CONFIG ENVIRONMENT PORT TARGET
# $(call given,VARIABLE): its value, but of an environment in which the name is likely another's.
given = $(if $(and $(filter $(COMMON),$(1)),$(filter environment,$(origin $(1)))),$(warning \
	$(1) of the environment is left out; to set it: make TARGET $(1)=...),$($(1)))
# $(call quoted,TEXT): one word of the shell, whatever it holds.
quoted = '$(subst ','\'',$(1))'
# $(call option,VARIABLE,name): "--name 'value'" where the variable is set, else nothing.
option = $(if $(call given,$(1)),--$(2) $(call quoted,$($(1))))
# $(call flag,VARIABLE,name): "--name" where the variable is set to something that says yes.
flag = $(if $(filter-out 0 no off false,$($(1))),--$(2))
# Of loadtest, fleet, ui and referee.
own = $(call option,CONFIG,config) $(call option,ENVIRONMENT,environment) $(call flag,KEEP_CALLBACKS,keep-callbacks)

.PHONY: help
help: ## List targets and variables
	@awk 'BEGIN { FS = ":.*## " } \
		/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 } \
		/^#= / { sub(/^#= /, ""); split($$0, part, / +- +/); \
			variables = variables sprintf("  %-17s %s\n", part[1], part[2]) } \
		END { printf "\nVariables, as in  make loadtest REPLICAS=8:\n%s", variables }' Makefile

#= REPLICAS=n       - replicas of each variant (loadtest, fleet, ui, up, twins, history, clock, faults, rollout, aa, referee)
#= VARIANTS=a,b     - variants to compare (loadtest, fleet, ui, up, clock, faults, compat)
#= SCENARIO=name    - what to run (loadtest, fleet, ui, up, faults, aa, referee); default issue-27874, or that of faults and referee
#= WORKERS=n        - worker processes of each replica (loadtest, fleet, ui, up, clock, faults, rollout)
#= PREMISE=on|off   - with or without the scenario's premise (loadtest, fleet, ui, up)
#= STACK=name        - where the servers come from (loadtest, faults): embedded or compose
#= REPO=path        - a checkout of LiteLLM (referee); BASE=rev and HEAD=rev are revisions of it
#= SOURCE=name      - the head, without REPO; AGAINST=name its base, or plain (referee)
#= TIME_SCALE=x     - 1 keeps the scenario's real times (loadtest)
#= ROUNDS=n         - rounds of windows (loadtest, twins, history, referee)
#= OVERRIDE=v:s=x    - give variant v the value x for its switch s (loadtest, clock, faults)
#= PORT=n           - first port of the replicas (fleet); of the web UI (ui), default 8089
#= LOCUST_WORKERS=n - processes that drive the load under a Locust master (ui, up)
#= GRAFANA=on|off   - with or without Grafana (up)
#= TARGET=litellm   - the release in LITELLM_IMAGE, from its official image (up)
#= ONLY=a,b         - which pairs, by variant or release (twins), actions (clock) or faults (faults); default all
#= CONFIG=my.yaml   - LiteLLM's config.yaml of your own; KEEP_CALLBACKS=1 (loadtest, fleet, ui, referee)
#= ENVIRONMENT=litellm==X - whose environment trees and wheels of LiteLLM run in (loadtest, fleet, ui, referee)
#= RELAX=a,b        - packages a release may have in another version, or lack (loadtest, fleet, ui, referee, history, clock, faults, rollout)
#= SCOPES=a,b       - key scopes of every action (clock); default: each in one
#= CHANGES=n        - changes of each action and scope (clock); default 1
#= TTL_S=n          - TTL in seconds (clock); default 10
#= WATCH_TTLS=x     - how long a change is watched at least, in TTLs (clock); default 3
#= IDLE=1           - change keys that are not in use too (clock)
#= RELEASES=a,b     - which releases (history); default: one for each step of the defect
#= VARIANT=name     - show the switches of one variant (variants); what to calibrate with (aa)
#= PAIRS=n          - pairs of fleets to measure (aa); default 10
#= FROM=a TO=b      - which variant takes the place of which (rollout); SCHEMA=newer|older, DRAIN=1
#= STRICT=1         - exit with 3 where nothing is expected of the variants (loadtest); with 1 where a worker is over its promise (clock) or something failed (rollout)
#= PROMETHEUS=x     - auto, on or off: record the run with Prometheus (loadtest)
#= RUN=id           - which run (report, prometheus), default latest; a finished run (twins, history, clock, faults)
#= RUNS='a b'       - which runs (compare)
#= ARGS='-k word'   - more pytest options (test, test-unit, coverage, test-wheel)
#= PYTHON=python3   - the Python to create .venv with
#= UPGRADE=1        - upgrade to the newest versions (lock, lock-releases)

.PHONY: loadtest
loadtest: runtime ## Run a scenario against several variants and give a verdict
	@exec $(BIN)/harness loadtest $(call option,REPLICAS,replicas) $(call option,VARIANTS,variants) \
		$(call option,SCENARIO,scenario) $(call option,WORKERS,workers) \
		$(call option,STACK,stack) $(call option,TIME_SCALE,time-scale) \
		$(call option,PREMISE,premise) $(call option,ROUNDS,rounds) \
		$(call option,OVERRIDE,override) $(call option,PROMETHEUS,prometheus) \
		$(call option,RELAX,relax) $(own) $(call flag,STRICT,strict)

.PHONY: fleet
fleet: runtime ## Keep fleets up to drive them by hand
	@exec $(BIN)/harness fleet $(call option,REPLICAS,replicas) $(call option,VARIANTS,variants) \
		$(call option,SCENARIO,scenario) $(call option,WORKERS,workers) \
		$(call option,PREMISE,premise) $(call option,PORT,port) $(call option,RELAX,relax) $(own)

.PHONY: ui
ui: runtime ## Start fleets and Locust's web UI with the tab Auth cache
	@exec $(BIN)/harness ui $(call option,REPLICAS,replicas) $(call option,VARIANTS,variants) \
		$(call option,SCENARIO,scenario) $(call option,WORKERS,workers) \
		$(call option,PREMISE,premise) $(call option,PORT,port) \
		$(call option,LOCUST_WORKERS,locust-workers) $(call option,RELAX,relax) $(own)

.PHONY: twins
twins: runtime ## Compare reference variants with the LiteLLM releases they stand for
	@exec $(BIN)/harness twins $(call option,REPLICAS,replicas) $(call option,ROUNDS,rounds) \
		$(call option,ONLY,only) $(call option,RUN,from)

.PHONY: history
history: runtime ## Show what each LiteLLM release does, in a table and a chart
	@exec $(BIN)/harness history $(call option,REPLICAS,replicas) $(call option,ROUNDS,rounds) \
		$(call option,RELEASES,releases) $(call option,RUN,from) $(call option,RELAX,relax)

.PHONY: clock
clock: runtime ## Change keys, teams and users, and time how long each worker serves the old
	@exec $(BIN)/harness clock $(call option,VARIANTS,variants) $(call option,REPLICAS,replicas) \
		$(call option,WORKERS,workers) $(call option,ONLY,only) $(call option,SCOPES,scopes) \
		$(call option,CHANGES,changes) $(call option,TTL_S,ttl-s) \
		$(call option,WATCH_TTLS,watch-ttls) $(call option,OVERRIDE,override) \
		$(call option,RELAX,relax) $(call option,RUN,from) $(call flag,STRICT,strict) \
		$(call flag,IDLE,idle)

.PHONY: faults
faults: runtime ## Break Redis, Postgres and replicas under load, and show what callers saw
	@exec $(BIN)/harness faults $(call option,VARIANTS,variants) $(call option,REPLICAS,replicas) \
		$(call option,SCENARIO,scenario) $(call option,WORKERS,workers) $(call option,ONLY,only) \
		$(call option,OVERRIDE,override) $(call option,RELAX,relax) \
		$(call option,STACK,stack) $(call option,RUN,from)

.PHONY: compat
compat: runtime ## Show who can read whose entries in Redis, and which rollout is safe
	@exec $(BIN)/harness compat $(call option,VARIANTS,variants)

.PHONY: rollout
rollout: runtime ## Replace a variant's replicas by another's, and back, under load
	@exec $(BIN)/harness rollout --from $(call quoted,$(or $(FROM),$(error Name both: make rollout FROM=a TO=b))) \
		--to $(call quoted,$(or $(TO),$(error Name both: make rollout FROM=a TO=b))) \
		$(call option,REPLICAS,replicas) $(call option,WORKERS,workers) \
		$(call option,SCHEMA,schema) $(call option,RELAX,relax) \
		$(call flag,DRAIN,drain) $(call flag,STRICT,strict)

.PHONY: aa
aa: runtime ## Calibrate: one variant twice, and with a planted TTL
	@exec $(BIN)/harness aa $(call option,REPLICAS,replicas) $(call option,SCENARIO,scenario) \
		$(call option,VARIANT,variant) $(call option,PAIRS,pairs) --write

.PHONY: referee
referee: runtime ## Compare base and head of a change: better, same, worse or mixed
	@exec $(BIN)/harness referee $(call option,REPO,repo) $(call option,BASE,base) \
		$(call option,HEAD,head) $(call option,SOURCE,source) $(call option,AGAINST,against) \
		$(call option,SCENARIO,scenario) \
		$(call option,REPLICAS,replicas) $(call option,ROUNDS,rounds) $(call option,RELAX,relax) $(own)

.PHONY: up
up: runtime ## Start fleets, HAProxy, Prometheus, Grafana and Locust in Docker Compose
	@exec $(BIN)/harness up $(call option,REPLICAS,replicas) $(call option,VARIANTS,variants) \
		$(call option,SCENARIO,scenario) $(call option,WORKERS,workers) \
		$(call option,PREMISE,premise) $(call option,GRAFANA,grafana) $(call option,TARGET,target) \
		$(call option,LOCUST_WORKERS,locust-workers)

.PHONY: down
down: runtime ## Stop and remove what up started
	@exec $(BIN)/harness down

.PHONY: variants
variants: runtime ## List the variants, or the switches of one
	@exec $(BIN)/harness variants $(if $(VARIANT),$(call quoted,$(VARIANT)))

.PHONY: prometheus
prometheus: runtime ## Open the Prometheus recording of a run
	@exec $(BIN)/harness prometheus $(call quoted,$(or $(RUN),latest))

.PHONY: report
report: runtime ## Rebuild the report of a run from its data
	@exec $(BIN)/harness report $(call quoted,$(or $(RUN),latest))

.PHONY: compare
compare: runtime ## Compare runs side by side
	@exec $(BIN)/harness compare $(or $(RUNS),$(error Name the runs: make compare RUNS='a b'))

.PHONY: bench
bench: dev ## Measure CPU per request, codecs and start-up
	@exec $(BIN)/python -m benchmarks

# Tests of one file stay in one process, because many share servers. The variable is empty because
# without bytecode each process would translate all tests again, and each command that a test starts
# the whole package: that takes longer than many a test.
PYTEST := PYTHONDONTWRITEBYTECODE= exec $(BIN)/pytest
# The files are sorted by tests/conftest.py, so that whole runs come first and none is left for the end.
PARALLEL := --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: test
test: dev ## Run the tests, but those of a minute and more
	@$(PYTEST) -n auto $(PARALLEL) $(ARGS)

.PHONY: test-unit
test-unit: dev ## Run the quick tests, which start no server
	@$(PYTEST) -n logical $(PARALLEL) -m 'not integration and not long' $(ARGS)

.PHONY: plants
plants: dev ## Plant every known fault in real runs: each must be noticed; CONTROLS=20 runs without one
	@AUTHCACHE_ALL_PLANTS=1 AUTHCACHE_CONTROLS=$(CONTROLS) $(PYTEST) -m '' tests/plants \
		tests/targets/litellm/inside/test_unwrapped.py $(ARGS)

.PHONY: test-long
test-long: dev ## Run the tests of a minute and more, which make test leaves out; SAME=10 compares equal trees ten times
	@AUTHCACHE_SAME=$(SAME) $(PYTEST) -m long $(ARGS)

.PHONY: test-referee
test-referee: dev ## Of these, sources and the referee on real releases; SAME=10 as above
	@AUTHCACHE_SAME=$(SAME) $(PYTEST) -m long tests/targets/litellm tests/test_action.py \
		tests/runs/test_sources.py tests/runs/test_referee.py tests/runs/test_referee_tree.py $(ARGS)

.PHONY: coverage
coverage: dev ## Show the line coverage of the tests that start no server
	@$(PYTEST) -n logical $(PARALLEL) -m 'not integration and not long' --hypothesis-profile thorough \
		--cov --cov-report=term:skip-covered $(ARGS)

.PHONY: mutants
mutants: dev $(VENV)/mutants.stamp ## Run mutation tests on the modules that decide, or ONLY=harness.analysis.reads
	@$(BIN)/python tools/mutants.py $(ONLY)

.PHONY: test-wheel
test-wheel: dev ## Build the wheel, install it elsewhere and run its commands
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && trap 'exit 130' INT TERM \
	&& export UV_PYTHON_DOWNLOADS=never \
	&& $(UV) build --quiet --no-build-isolation --python $(BIN)/python --out-dir "$$folder/dist" . \
	&& $(UV) venv --quiet --no-project --python $(BIN)/python "$$folder/env" \
	&& $(UV) pip install --quiet --compile-bytecode --python "$$folder/env/bin/python" \
		--require-hashes -r requirements/runtime.txt \
	&& $(UV) pip install --quiet --no-deps --python "$$folder/env/bin/python" "$$folder"/dist/*.whl \
	&& AUTHCACHE_WHEEL="$$folder" $(BIN)/pytest tests/wheel $(ARGS)

.PHONY: dashboards
dashboards: dev ## Generate the Grafana dashboards from the code
	@exec $(BIN)/python -m tools.dashboards generate

.PHONY: docs
docs: dev ## Generate the tables and the schema in docs/ from the code
	@exec $(BIN)/python -m tools.docs

.PHONY: golden
golden: dev ## Rewrite the golden records after an intended change
	@WRITE_GOLDEN=1 exec $(BIN)/pytest --quiet tests/golden

.PHONY: lint
lint: dev ## Check style, layers and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports --no-cache --no-logo
	@$(BIN)/python tools/names.py
	@$(BIN)/mypy

.PHONY: lock
lock: $(VENV)/uv.stamp ## Regenerate the pinned requirements
	$(COMPILE) requirements/uv.in -o requirements/uv.txt
	$(COMPILE) requirements/build.in -o requirements/build.txt
	$(COMPILE) pyproject.toml -o requirements/runtime.txt
	$(COMPILE) pyproject.toml --group dev -c requirements/runtime.txt -o requirements/dev.txt
	$(COMPILE) --group pyproject.toml:mutants -c requirements/dev.txt -o requirements/mutants.txt
	@if grep -n '://' requirements/*.txt; then echo 'The requirement files contain an address.'; exit 1; fi

.PHONY: lock-releases
lock-releases: runtime ## Regenerate the pins of the known LiteLLM releases
	@exec $(BIN)/harness releases lock $(call flag,UPGRADE,upgrade)

.PHONY: clean
clean: ## Remove .venv and caches, keep runs
	rm -rf $(VENV) .cache mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis htmlcov .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: runtime dev
runtime: $(VENV)/project.stamp
dev: $(VENV)/project.stamp $(VENV)/dev.stamp

$(VENV)/uv.stamp: requirements/uv.txt
	@echo 'Setting up $(VENV) (once; needs the package index)' >&2
	@python=$$(sh requirements/find-python.sh '$(PYTHON)') && "$$python" -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/runtime.stamp: requirements/runtime.txt requirements/build.txt $(VENV)/uv.stamp
	@$(INSTALL) --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/runtime.stamp
	@$(INSTALL) --require-hashes -r $<
	@touch $@

$(VENV)/mutants.stamp: requirements/mutants.txt $(VENV)/dev.stamp
	@$(INSTALL) --require-hashes -r $<
	@touch $@

$(VENV)/project.stamp: pyproject.toml $(VENV)/runtime.stamp
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@
