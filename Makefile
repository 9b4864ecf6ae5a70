# The template's own targets; the first that is called sets up .venv. This machine needs Python 3.11 or newer, make and git;
# the image tests need Docker too.

.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help
help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: .venv/installed ## Install the locked tools into .venv, verified by hash

.venv/installed: poetry.lock tools/requirements.py template/docker/export_lock.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "Python 3.11 or newer is needed: say which, as in make setup PYTHON=python3.13." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	    || { echo "Python's venv module is incomplete here: apt-get install python3-venv, then try again." >&2; exit 1; }
	@echo "Setting up .venv, once" >&2
	@$$($(PYTHON) -c 'import os, sys; print(os.path.realpath(sys.executable))') -m venv --clear .venv # not an active .venv's
	@$(PYTHON) tools/requirements.py > .venv/requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r .venv/requirements.txt
	@touch $@

.PHONY: new
new: setup ## Make a project: DEST=../my-service, and DATA="framework=flask port=9000" or ANSWERS=file.yml to answer in advance
	@$(BIN)/python -m tools.new --destination="$$GIVEN_DEST" --data="$$GIVEN_DATA" --answers="$$GIVEN_ANSWERS"

.PHONY: test
test: setup ## Run the tests; ARGS="-k update" goes to pytest; without Docker, its tests are skipped
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest $(ARGS)

.PHONY: test-copier
test-copier: setup ## Run the tests of questions and updates with another Copier: COPIER="the oldest", or "the newest"
	@$(BIN)/python -m pip install --quiet --upgrade \
	    $$([ "$(COPIER)" = "the oldest" ] && sed -n 's/^_min_copier_version: "\(.*\)"/copier==\1/p' copier.yml || echo copier)
	@$(BIN)/copier --version
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -m "slow or not slow" tests/update tests/render/test_questions.py $(ARGS)

.PHONY: lint
lint: setup ## Run every check of .pre-commit-config.yaml on every file
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pre-commit run --all-files

.PHONY: docs
docs: setup ## Build the documentation as a site, in site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "Open site/index.html"

.PHONY: docs-serve
docs-serve: setup ## Serve the documentation on localhost:8000, with reloads
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --strict

.PHONY: locks
locks: setup ## Renew and check the poetry.lock files that the template ships; needs Docker
	@$(BIN)/python -W ignore -m tools.locks

.PHONY: bench
bench: setup ## Time the builds of both frameworks against the workshop's techniques, for the documentation; ARGS=--yes does not ask
	@$(BIN)/python -W ignore -m tools.bench $(ARGS)

.PHONY: bench-servers
bench-servers: setup ## Measure the servers under load, for the documentation
	@$(BIN)/python -W ignore -m tools.servers

.PHONY: bench-replicas
bench-replicas: setup ## Measure replicas behind nginx and their memory, for the documentation
	@$(BIN)/python -W ignore -m tools.replicas

.PHONY: workshop-figures
workshop-figures: setup ## Measure the lessons of the workshop, for their pages
	@$(BIN)/python -W ignore -m tools.workshop

.PHONY: release
release: setup ## Date the changelog's news as VERSION=1.2.0, commit and tag it; pushing the tag publishes it
	@$(BIN)/python -m tools.release "$(VERSION)"

.PHONY: release-notes
release-notes: setup ## Print what the changelog says of VERSION=1.2.0
	@$(BIN)/python -m tools.release --notes "$(VERSION)"

.PHONY: examples
examples: setup ## Publish a new project of each framework of VERSION=1.2.0 on the branches example-flask and example-fastapi
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh tools/publish_examples.sh "$(VERSION)"

# They reach the recipe through the environment, unexpanded: quotes and dollars in them stay what they are.
export GIVEN_DEST := $(value DEST)
export GIVEN_DATA := $(value DATA)
export GIVEN_ANSWERS := $(value ANSWERS)
