# Every task of this repository. `make` or `make help` lists them; CI calls only `make ci`.
# Needed: a Rust toolchain (rust-toolchain.toml says which), a C compiler and GNU make; `build` needs cargo-lambda too.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

CARGO ?= cargo
# Where cargo puts its output; absolute or relative to here.
TARGET := $(or $(CARGO_TARGET_DIR),target)
FUNCTIONS := $(notdir $(wildcard functions/*))
FUNCTION_PACKAGES := $(addprefix -p perennial-,$(FUNCTIONS))

LISTEN ?= 127.0.0.1:4566
SPEED ?= 20
SEEDS ?= 1000
FIRST_SEED ?= 0
ONE_IN ?= 1
ARCH ?= arm64
ARCH_FLAG = $(if $(filter arm64,$(ARCH)),--arm64,$(if $(filter x86_64,$(ARCH)),--x86-64,$(error ARCH is "$(ARCH)": write arm64 or x86_64)))
# More options for cargo-lambda, such as `--compiler cargo` where a cross compiler of one's own is installed.
LAMBDA_FLAGS ?=

.PHONY: help demo cloud test e2e sim matrix bench lint doc build ci

help: ## Lists the tasks.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# One selection of packages for every development build: with another one the features of shared crates differ,
# and the EC2 SDK is built once more, which takes minutes.
BUILD_BINS = $(CARGO) build --workspace --bins

demo: ## Shows one interruption survived, in the terminal (ACT=database: with data volumes; ring: of a group; backup: from image backups).
	$(BUILD_BINS)
	$(TARGET)/debug/perennial-demo --functions $(TARGET)/debug $(if $(ACT),--act $(ACT))

cloud: ## Serves the local cloud with the functions for the AWS CLI (LISTEN=address:port SPEED=factor).
	$(BUILD_BINS)
	$(TARGET)/debug/perennial-cloud serve --listen $(LISTEN) --speed $(SPEED) --template infra/template.yaml --functions $(TARGET)/debug

test: ## Runs all tests; builds the binaries first, since the end-to-end tests run them.
	$(BUILD_BINS)
	$(CARGO) test --workspace

e2e: ## Runs the end-to-end tests: the real binaries against the local cloud.
	$(BUILD_BINS)
	$(CARGO) test --workspace --test e2e

sim: ## Runs the seeded fault simulation (SEEDS=how many FIRST_SEED=from which).
	$(CARGO) run -p perennial-sim -- --seeds $(SEEDS) --first-seed $(FIRST_SEED)

matrix: ## Breaks every call of every story of the simulation in every way (ONE_IN=n tells only one in n).
	$(CARGO) run -p perennial-sim -- matrix --one-in $(ONE_IN)

bench: ## Measures the budgets.
	$(CARGO) run -p perennial-sim --release -- bench

lint: ## Checks formatting and lints; warnings are errors.
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

doc: ## Builds the documentation of the code, private items included; warnings are errors.
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items

build: ## Builds the functions for Lambda with cargo-lambda (ARCH=arm64 or x86_64).
	@$(CARGO) lambda --version >/dev/null 2>&1 || { echo "cargo-lambda is missing. Install it: pip install cargo-lambda" >&2; exit 1; }
	$(CARGO) lambda build --release $(ARCH_FLAG) $(LAMBDA_FLAGS) $(FUNCTION_PACKAGES)

ci: lint doc test ## Everything that must pass before a change goes in.
