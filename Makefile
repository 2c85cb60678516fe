# `make build` and `make test` do everything on a bare Debian 12 with git, make and python3.
# The store (kernel builds and the like) is shared by all of them: $KATA_TOOLKIT_CACHE, or ~/.cache/kata-toolkit.

BIN := .venv/bin

.PHONY: build test test-full lint bench clean help ready lock docs

build: ready ## Build examples/quickstart.yaml into out/quickstart, boot it, prove it, print the summary
	$(BIN)/kata-toolkit build examples/quickstart.yaml --verify

test: ## Run the tests (real kernel, real images, real boots; the kernel is built once and kept in the store)
	@.ci/bootstrap test
	$(BIN)/pytest -m "not full"

test-full: ## Run everything, what takes long included (second kernels, other architectures, long fuzzing)
	@.ci/bootstrap full
	$(BIN)/pytest

lint: ready ## ruff, mypy --strict, and the schemas themselves
	$(BIN)/ruff check toolkit tests benchmarks
	$(BIN)/ruff format --check toolkit tests benchmarks
	$(BIN)/mypy
	$(BIN)/check-jsonschema --check-metaschema schemas/*.schema.json

bench: ready ## Measure what the project promises; writes benchmarks/latest.json
	$(BIN)/python benchmarks/run.py

docs: ready ## Render docs/spec.md from the schema, docs/kernel-profiles.md from kernel-configs/, docs/check-host.md
	$(BIN)/python -m kata_toolkit.spec.reference
	$(BIN)/python -m kata_toolkit.kconfig.profile_page
	$(BIN)/python -m kata_toolkit.host.page
	$(BIN)/python -m kata_toolkit.kata.lint.page
	$(BIN)/python -m kata_toolkit.vm.page

lock: ## Resolve requirements.in anew into requirements.lock, and what only `make test-full` uses
	rm -rf build/lock && /usr/bin/python3 -m venv build/lock && build/lock/bin/pip install -q pip-tools
	build/lock/bin/pip-compile -q --generate-hashes --allow-unsafe --strip-extras --no-emit-options \
		--no-emit-index-url --no-emit-find-links --upgrade -o requirements.lock requirements.in
	build/lock/bin/pip-compile -q --generate-hashes --allow-unsafe --strip-extras --no-emit-options \
		--no-emit-index-url --no-emit-find-links --upgrade -o requirements-full.lock requirements-full.in

clean: ## Remove what was built here (the store stays: see `kata-toolkit cache gc`)
	rm -rf out build dist .venv *.egg-info .mypy_cache .ruff_cache .hypothesis

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

ready:
	@.ci/bootstrap
