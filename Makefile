# kernel-lab: what a Python service's guarantees really mean once it runs in N workers.
# `make help` lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
# the first that runs and is new enough: a name on PATH may be a shim for a version that is not there
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
ARGS ?=
# an image of Python often sets this; then every process, and so every server, compiles all that it imports: a second each
export PYTHONDONTWRITEBYTECODE :=

help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 16

setup: .venv/.ready ## the environment in .venv (uv if it is there or can be had, else pip)

.venv/.ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "kernel-lab needs Python 3.11 or newer on PATH, or PYTHON=/path/to/python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@if command -v uv >/dev/null; then uv=uv; \
	 elif $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9 2>/dev/null; then uv=$(BIN)/uv; \
	 else uv=; fi; \
	 if [ -n "$$uv" ]; then $$uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[bench,dev]'; \
	 else $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench,dev]'; fi
	@touch $@

# against the compose stack if it is up (ARGS='--attach none': in no case); without a Python, from inside of it
ifneq ($(PYTHON),)
scenarios: setup ## run the matrix and judge it (QUICK=1: a subset in a minute or two; ARGS='--deployment memory-4')
	@$(BIN)/kernel-lab run $(if $(findstring --attach,$(ARGS)),,--attach auto) $(if $(QUICK),--quick) $(ARGS)
else
scenarios:
	@command -v docker >/dev/null || { echo "kernel-lab needs Python 3.11 or newer on PATH, or docker and \`make up\`"; exit 1; }
	@mkdir -p results
	@LAB_UID=$$(id -u) LAB_GID=$$(id -g) $(COMPOSE) run --rm --build bench run --attach compose $(if $(QUICK),--quick) $(ARGS)
endif

examples: setup ## the services made with public libraries, each up to its verdicts (ARGS=--quick)
	@$(MAKE) -C examples all ARGS="$(ARGS)"

repro: setup ## the seed's reproduction: two kernels, one secret, four questions
	@$(BIN)/python -m examples.two_kernels $(ARGS)

# three on two cores: while one waits for its servers, the others compute. Each is given a file at a time;
# tests/conftest.py orders the files
SPREAD = -n 3 --dist loadfile --no-loadscope-reorder
test: setup ## the tests, in five minutes on two cores
	@$(BIN)/python -m pytest -q $(SPREAD) $(ARGS)

test-slow: setup ## the tests that `make test` skips as slow, and larger counts of those that try many cases
	@LAB_TEST_SLOW=1 $(BIN)/python -m pytest -q $(SPREAD) -m 'slow or counted' $(ARGS)

lint: setup ## ruff: rules and format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

type: setup ## mypy, strict
	@$(BIN)/mypy

HISTORIES ?= 100000
RIGHT ?= 3000
oracles: setup ## each checker against brute force (HISTORIES=100000 a claim) and right deployments (RIGHT=3000 a claim), in an hour
	@KERNEL_LAB_ORACLE=$(HISTORIES) KERNEL_LAB_RIGHT=$(RIGHT) $(BIN)/python -m pytest -q tests/judge/checkers \
	  -k 'trying_everything or right_run or less_information or right_budget or right_limiter' $(ARGS)

bench-check: setup ## a million operations of each kind, read and judged
	@$(BIN)/python -m kernel_lab.judge.bench_check $(ARGS)

KEEP ?= 5
clean-results: ## forget old runs: the newest five of each kind stay (KEEP=0: none), reference/ always stays
	@for place in results results/gate results/pytest; do \
	  { ls -1d $$place/20*T*Z 2>/dev/null || true; } | sort -r | tail -n +$$(($(KEEP) + 1)) | xargs -r rm -rf; done
	@test -e results/latest || rm -f results/latest

clean: ## forget the environment and every run that is not committed
	@$(MAKE) --no-print-directory clean-results KEEP=0
	@rm -rf .venv results/load-* results/up results/examples

.PHONY: help setup scenarios examples repro test test-slow lint type oracles bench-check clean clean-results

# The stack in containers: docs/deployment.md.
# compose wants the secret for whatever it does; to look at a stack or to end it, none is needed
COMPOSE = WEAVER_KERNEL_SECRET=$${WEAVER_KERNEL_SECRET-} docker compose --profile '*'

up: ## build and start the compose stack, and wait until it serves
	@lab/up.sh $(ARGS)

down: ## end the compose stack and forget its volumes
	@$(COMPOSE) down --volumes --remove-orphans

logs: ## follow the logs of the compose stack
	@$(COMPOSE) logs --follow --tail 20 $(ARGS)

ps: ## what runs of the compose stack
	@$(COMPOSE) ps --all $(ARGS)

test-compose: setup ## the compose stack for real, from a clean clone: up, measured, disturbed, down
	@tests/compose/run.sh $(ARGS)

up-swarm: ## the stack on the hosts of a swarm; where there is none, on three hosts that are brought up on this machine
	@deploy/swarm/up.sh

down-swarm: ## end the swarm's stack, its volumes and secrets, and the hosts that up-swarm brought up
	@deploy/swarm/down.sh

test-swarm: setup ## three hosts for real, from a clean clone: up, measured, partitioned, rolled, down (needs root)
	@tests/hosts/run.sh $(ARGS)

kubernetes-check: setup ## the Kubernetes manifests, rendered and validated against the three newest versions' schemas
	@$(BIN)/python deploy/kubernetes/check.py

.env: ## a random secret for docker compose
	@umask 077 && printf 'WEAVER_KERNEL_SECRET=%s\n' "$$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')" > .env

.PHONY: up down logs ps test-compose up-swarm down-swarm test-swarm kubernetes-check

# What the guarantees cost: docs/cost.md.
load: setup ## what each deployment costs under load, near and far, few callers and many: cost.csv, in 20 minutes (ARGS=--quick)
	@$(BIN)/kernel-lab load $(ARGS)

load-curves: setup ## cost against the number of workers and the size of the state
	@$(BIN)/kernel-lab load --part workers --part size $(ARGS)

load-ui: setup ## locust's page, on a deployment of yours (HOST=http://…) or one started for it (DEPLOYMENT=memory-4)
	@$(BIN)/python -m kernel_lab.load.ui $(or $(HOST),$(DEPLOYMENT),memory-4) $(ARGS)

bench-app: setup ## our app beside the smallest ASGI handler that makes the same kernel calls
	@$(BIN)/kernel-lab load --part app $(ARGS)

.PHONY: load load-curves load-ui bench-app

# What came out, for people: the page of a run, the docs' figures, what an operator's steps lose.
report: setup ## the page of a run (RUN=results/latest)
	@$(BIN)/kernel-lab report $(RUN)

docs: setup ## every figure and table of README and docs/ from a run (RUN=results/reference; ARGS=--check compares)
	@$(BIN)/python -m kernel_lab.publish.docs $(RUN) $(ARGS)

faults: setup ## every claim around every fault, on sixteen deployments: faults.csv and the page (ARGS='--deployment redis')
	@$(BIN)/kernel-lab run --fault all $(ARGS)

runbook: setup ## what reload, recycle, restart and scaling lose, per deployment: runbook.csv
	@$(BIN)/python -m kernel_lab.runbook $(ARGS)

convergence: setup ## how long after a revocation every worker refuses, per deployment: convergence.csv (ARGS='--deployment redis')
	@$(BIN)/kernel-lab convergence $(ARGS)

.PHONY: report docs faults runbook convergence

# Wrong kernels that must be caught, right ones that must not be accused: docs/teeth.md.
switched: setup ## every claim over 10,000 simulated runs that are interrupted at every store call, in two hours
	@LAB_TEST_SWITCHED=10000 nice -n 15 $(BIN)/python -m pytest -q -s -p no:cacheprovider tests/mutants/test_switching.py $(ARGS)

teeth: setup ## every seeded wrong kernel, 1,000 right runs, a sample of both under gunicorn (ARGS=--no-live)
	@$(BIN)/python -m mutants.teeth $(ARGS)

right-runs: setup ## twenty runs of right deployments with little room, under gunicorn: none may be accused
	@$(BIN)/python -m mutants.right_live $(ARGS)

teeth-faults: setup ## every wrong reaction to a fault, on real stacks under that fault: docs/faulty-reactions.md (ARGS=--no-right)
	@$(BIN)/python -m mutants.under_fault $(ARGS)

smallest-faults: setup ## the smallest fault that each claim sees, quick and full: docs/smallest-faults.md, in half an hour
	@$(BIN)/python -m mutants.smallest $(ARGS)

.PHONY: teeth right-runs switched smallest-faults

# The shared states: docs/state.md.
bench-state: setup ## what each store call, a grant and an invoke cost in process, each state beside memory
	@$(BIN)/python -m beside_upstream.cost $(ARGS)

upstream-tests: setup ## upstream's own tests with our stores in place of its own (ARGS='--sdist FILE' without a network)
	@$(BIN)/python -m beside_upstream.own_tests $(ARGS)

.PHONY: bench-state upstream-tests

# What goes back to the project under test: docs/upstream/README.md.
upstream-patches: setup ## the patch series with the figures of a run (RUN=results/reference; ARGS='--base CHECKOUT --out DIR')
	@$(BIN)/python -m kernel_lab.upstream.series $(RUN) $(ARGS)

upstream-check: setup ## the series on the sdist, in a fresh environment: git am, then upstream's own make ci
	@$(BIN)/python -m kernel_lab.upstream.check $(ARGS)

upstream-issue: setup ## one follow-up as it is filed (N=05)
	@$(BIN)/python -m kernel_lab.upstream.followups $(N)

upstream-try: setup ## every follow-up as its reader tries it: alone, in an environment of its own
	@$(BIN)/python -m kernel_lab.upstream.followups --try

versions: setup ## which published version has which guarantee: docs/upstream/versions.csv and its table
	@$(BIN)/python -m kernel_lab.upstream.versions $(ARGS)

rollout: setup ## two versions behind one balancer, and the change of a signing key: docs/upstream/rollout.csv
	@$(BIN)/python -m kernel_lab.upstream.rollout $(ARGS)

advisories: setup ## a private bundle outside of the repository (OUT=/elsewhere/bundle.tar.gz; ARGS='--notes DIR')
	@$(BIN)/python -m kernel_lab.upstream.advisories --out "$(or $(OUT),$(error OUT=FILE.tar.gz is needed, outside of the repository))" $(ARGS)

.PHONY: upstream-patches upstream-check upstream-issue upstream-try versions rollout advisories
