# Everything a clone needs is made here: `make` lists the targets.
# PYTHON=/path/to/python3.12 picks the interpreter for .venv; without it the first fitting one on the path is taken.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps
FIND_PYTHON = for p in $(if $(PYTHON),"$(PYTHON)",python3 python3.14 python3.13 python3.12 python3.11); do \
	  "$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; p=; \
	done; \
	[ -n "$$p" ] || { echo "Python 3.11 or newer with venv is needed, and none was found$(if $(PYTHON), at $(PYTHON))."; \
	  echo "Install it (Debian, Ubuntu: apt install python3.11 python3.11-venv; macOS: brew install python@3.12;"; \
	  echo "anywhere: https://www.python.org/downloads/), or name it: make PYTHON=/path/to/python3.11"; exit 1; } >&2

.PHONY: help dev test test-all check format lock up down logs ps scale roll peak peak-ui compare capacity bench overload audit

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(FIND_PYTHON); echo "making $(VENV) with $$("$$p" -V)"; "$$p" -m venv $(VENV)

$(VENV)/run.stamp: requirements/run.txt | $(BIN)/python
	@echo "installing $<"
	@$(PIP) -r $< && touch $@

$(VENV)/dev.stamp: requirements/dev.txt | $(BIN)/python
	@echo "installing $<"
	@$(PIP) -r $< && touch $@ $(VENV)/run.stamp

$(VENV)/load.stamp: requirements/load.txt | $(VENV)/run.stamp
	@echo "installing $<"
	@$(PIP) -r $< && touch $@

dev: $(VENV)/run.stamp  ## the whole system on this machine; reloads on change, Ctrl-C ends it
	@exec $(BIN)/python -m floodgate dev

MORE = redis_server or docker or haproxy or wrk or promtool or openssl or chromium or locust or slow

# Byte code is kept, whatever the shell says: else each of the processes that tests start compiles everything anew.
test test-all: export PYTHONDONTWRITEBYTECODE =

test: $(VENV)/dev.stamp  ## every test that needs no other program
	@$(BIN)/python -m pytest -q -n $$((2 * $$(getconf _NPROCESSORS_ONLN))) --dist loadfile --no-loadscope-reorder \
	  -m "not ($(MORE))"

test-all: $(VENV)/dev.stamp $(VENV)/load.stamp  ## those that need a program: redis-server, docker, haproxy, wrk, promtool, openssl, chromium
	@$(BIN)/python -m pytest -q -m "($(MORE))$(if $(WITHOUT), and not ($(WITHOUT)))"

check: $(VENV)/dev.stamp  ## style, types, the import contract, sizes
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format"; exit 1; }
	@$(BIN)/mypy .
	@out=$$(PYTHONPATH=. $(BIN)/lint-imports --cache-dir .cache/import-linter) || { echo "$$out"; exit 1; }; echo "$$out" | tail -1
	@$(BIN)/python -m floodgate check
	@$(BIN)/python -m floodgate declared

format: $(VENV)/dev.stamp  ## let ruff format and repair what it can
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

LOCK = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command "make lock"

lock: $(VENV)/dev.stamp  ## renew requirements/*.txt from requirements/*.in, and the digests of the images
	@$(LOCK) requirements/run.in -o requirements/run.txt
	@$(LOCK) -c requirements/run.txt requirements/dev.in -o requirements/dev.txt
	@$(LOCK) requirements/load.in -o requirements/load.txt
	@$(BIN)/python -m floodgate pin

audit: $(VENV)/dev.stamp  ## known vulnerabilities of the locked packages; exit code 2: not audited, no database
	@$(BIN)/python -m floodgate audit

CONTAINERS = $(FIND_PYTHON); exec "$$p" -m floodgate

up:  ## the whole system in containers; GATEWAYS=2 WORKERS=4, and every setting of .env.example
	@$(CONTAINERS) up

down:  ## drain it and remove it; what Redis keeps stays
	@$(CONTAINERS) down

logs:  ## follow its logs; SERVICE=gateway for one of them
	@$(CONTAINERS) logs

ps:  ## list its containers
	@$(CONTAINERS) ps

scale:  ## more or fewer of it while it runs: GATEWAYS=3 WORKERS=8
	@$(CONTAINERS) scale

roll:  ## replace its workers and gateways by the code as it is now, one by one, while it serves
	@$(CONTAINERS) roll

# What is given to make (HOST=, SHAPE=, USERS=, RPS=, SECONDS=, PROCESSES=) is in the environment of the command.
peak: $(VENV)/load.stamp  ## a peak on HOST (a running `make dev`), judged by loadtest/thresholds.toml; SHAPE=, RPS=
	@$(BIN)/python -m floodgate.peak $(ARGS)

peak-ui: $(VENV)/load.stamp  ## the same by hand, on locust's own page
	@$(BIN)/python -m floodgate.peak --ui $(ARGS)

compare: $(VENV)/load.stamp  ## one spike on one handler, called directly and queued: the picture of the README
	@$(BIN)/python -m benchmarks.compare $(ARGS)

capacity: $(VENV)/load.stamp  ## what this machine carries, into docs/performance.md; ARGS=--help
	@$(BIN)/python -m benchmarks.capacity $(ARGS)

bench: $(VENV)/dev.stamp  ## what the queue costs on this machine, against its goals; ARGS=--help
	@$(BIN)/python -m benchmarks.bench $(ARGS)

overload: $(VENV)/load.stamp  ## what the engine does under more load than it can carry; PROFILE=p1..p4 or PART=, ARGS=--help
	@$(BIN)/python -m benchmarks.overload $(ARGS)
