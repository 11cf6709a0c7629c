# Slipway. The two commands that matter are `make demo` and `make test`; everything else is cargo.

CARGO ?= cargo
VENV = target/venv/bin
# Where `make demo` keeps its state.
DEMO_DIR ?= target/demo

.DEFAULT_GOAL = help
.PHONY: help demo demo-down test lint fmt bench

help: ## Lists these targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 12

demo: ## Builds Slipway, deploys a sample app in every way, shows it (KEEP=1 leaves it running)
	packaging/dev/prepare demo
	$(CARGO) build --locked --workspace --bins
	target/debug/slipway-demo run --dir $(DEMO_DIR) $(if $(KEEP),--keep)

demo-down: ## Removes what `make demo KEEP=1` left
	target/debug/slipway-demo down --dir $(DEMO_DIR)

test: ## Runs every test; needs root for Docker
	packaging/dev/prepare test
	$(CARGO) build --locked --workspace --bins
	$(CARGO) nextest run --locked --workspace
	$(CARGO) test --locked --workspace --doc --quiet

lint: ## Form, lints, docs, licenses, protos, texts
	packaging/dev/prepare lint
	$(CARGO) fmt --all --check
	$(VENV)/taplo fmt --check
	$(VENV)/typos
	$(VENV)/shellcheck packaging/dev/prepare .ci/run
	$(VENV)/buf lint
	$(VENV)/buf breaking --against proto/frozen/slipway.binpb
	$(CARGO) machete
	$(CARGO) deny --log-level error check licenses bans sources
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items

fmt: ## Puts everything into form
	packaging/dev/prepare lint
	$(CARGO) fmt --all
	$(VENV)/taplo fmt

bench: ## Measures Slipway against the thing itself; writes target/bench.json
	packaging/dev/prepare demo
	$(CARGO) build --locked --release --workspace --bins
	target/release/slipway-bench --out target/bench.json
