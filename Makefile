# Every task of this repository. `make` or `make help` lists them; CI calls only `make ci`.
# Needed: a Rust toolchain (rust-toolchain.toml says which), a C compiler, GNU make, and for what has to do with Lambda and
# AWS python3 with venv: the tools of infra/requirements.txt come with it, into target/tools.

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
# By either name; a mistake is told when it is used.
arch_of = $(if $(filter arm64 x86_64,$(ARCH)),$(1),$(error ARCH is "$(ARCH)": write arm64 or x86_64))
ARCH_FLAG = $(call arch_of,$(if $(filter arm64,$(ARCH)),--arm64,--x86-64))
RUST_TARGET = $(call arch_of,$(if $(filter arm64,$(ARCH)),aarch64,x86_64)-unknown-linux-gnu)
# More options for cargo-lambda, such as `--compiler cargo` where a cross compiler of one's own is installed.
LAMBDA_FLAGS ?=

PYTHON ?= python3
TOOLS := $(CURDIR)/target/tools
BED := $(CURDIR)/target/bed-venv
# The tools of infra/requirements.txt before others of the same name, so that every machine builds and checks alike.
WITH_TOOLS = PATH="$(TOOLS)/bin:$$PATH"
# What talks to the user's account is the user's own AWS CLI, if there is one. Variables given to make are in the
# environment of what it runs.
WITH_OWN = PATH="$$PATH:$(TOOLS)/bin" ARCH="$(ARCH)"

.PHONY: help demo cloud test rights e2e sim matrix bench lint lint-template doc tools build check-zips deploy deploy-code remove bed ci

help: ## Lists the tasks.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# One selection of packages for every development build: with another one the features of shared crates differ,
# and the EC2 SDK is built once more, which takes minutes.
BUILD_BINS = $(CARGO) build --workspace --bins

demo: ## Shows one interruption survived, in the terminal (ACT=database: with data volumes; ring: of a group; backup: from image backups).
	$(BUILD_BINS)
	$(TARGET)/debug/perennial-demo --functions $(TARGET)/debug $(if $(ACT),--act $(ACT))

cloud: ## Serves the local cloud with the functions for the AWS CLI (LISTEN=address:port SPEED=factor).
	$(BUILD_BINS)
	$(TARGET)/debug/perennial-cloud serve --listen $(LISTEN) --speed $(SPEED) --template infra/template.yaml --functions $(TARGET)/debug

# What the end-to-end tests deploy with, and where they write which rights were used.
USED_RIGHTS := $(abspath $(TARGET))/rights.tsv
RIGHTS = $(TARGET)/debug/perennial-cloud rights
TOLD_PARAMETERS = --parameter 'InstanceRoleArns=<InstanceRoleArns>' --parameter 'KmsKeyArns=<KmsKeyArns>' --parameter 'Deployment=<Deployment>'
USED_PARAMETERS = --parameter InstanceRoleArns=arn:aws:iam::123456789012:role/database \
	--parameter KmsKeyArns=arn:aws:kms:us-east-1:123456789012:key/0e0e0e0e-1111-2222-3333-444444444444

test: ## Runs all tests; builds the binaries first, since the end-to-end tests run them. Ends with the rights nobody needed.
	$(BUILD_BINS)
	@rm -f $(USED_RIGHTS)
	PERENNIAL_RIGHTS=$(USED_RIGHTS) $(CARGO) test --workspace
	$(RIGHTS) --used $(USED_RIGHTS) $(USED_PARAMETERS)

rights: ## Writes docs/RIGHTS.md, the table of rights, from the template.
	$(BUILD_BINS)
	$(RIGHTS) $(TOLD_PARAMETERS) > docs/RIGHTS.md

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

tools: $(TOOLS)/.complete ## Installs the tools of infra/requirements.txt into target/tools.

$(TOOLS)/.complete: infra/requirements.txt
	@$(PYTHON) -m venv $(TOOLS) || { echo "python3 with venv is missing. Install it, such as by: apt-get install python3-venv" >&2; exit 1; }
	$(TOOLS)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

lint-template: $(TOOLS)/.complete ## Checks the deployment template and the scripts beside it; warnings are errors.
	$(TOOLS)/bin/cfn-lint --include-checks I --template infra/template.yaml
	$(TOOLS)/bin/shellcheck --external-sources infra/*.sh .ci/run

build: $(TOOLS)/.complete ## Builds the functions for Lambda, as zips in target/lambda (ARCH=arm64 or x86_64).
	@! command -v rustup >/dev/null || rustup target add $(RUST_TARGET)
	$(WITH_TOOLS) $(CARGO) lambda build --release --locked $(ARCH_FLAG) --output-format zip --lambda-dir target/lambda \
		$(LAMBDA_FLAGS) $(FUNCTION_PACKAGES)

check-zips: ## Checks the zips of `make build`: their size, and that each function starts (ARCH as there).
	$(PYTHON) infra/zips.py --architecture $(ARCH)

deploy: ## Makes or updates a stack with what was built (STACK= REGION=, and ARCH= DEPLOYMENT= BUCKET= PARAMETERS="A=b C=d").
	@$(WITH_OWN) infra/deploy.sh

deploy-code: ## Updates only the code of a stack's functions with what was built (STACK= REGION=).
	@$(WITH_OWN) infra/deploy-code.sh

remove: ## Deletes a stack that has no nodes, and says what is left (STACK= REGION=).
	@$(WITH_OWN) infra/remove.sh

$(BED)/.complete: tests/emulator/requirements.txt
	@$(PYTHON) -m venv $(BED) || { echo "python3 with venv is missing. Install it, such as by: apt-get install python3-venv" >&2; exit 1; }
	$(BED)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

bed: $(BED)/.complete ## Runs the guide's commands against an independent emulator, with the zips of `make build` for this machine.
	$(BUILD_BINS)
	$(BED)/bin/python -B -m unittest discover --start-directory tests/emulator
	$(BED)/bin/python -B tests/emulator/bed.py --cloud $(TARGET)/debug/perennial-cloud

# The bed mostly waits, so the tests run beside it.
ci: ## Everything that must pass before a change goes in.
	$(MAKE) lint doc lint-template
	$(MAKE) build check-zips ARCH=x86_64
	$(BUILD_BINS)
	@nice $(MAKE) bed > $(TARGET)/bed.log 2>&1 & bed=$$!; $(MAKE) test || { kill $$bed; exit 1; }; \
		wait $$bed; code=$$?; cat $(TARGET)/bed.log; exit $$code
