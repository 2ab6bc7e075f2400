# Where Go installs itself, for shells (sudo's, for one) that do not know it.
export PATH := $(PATH):/usr/local/go/bin

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

.PHONY: run
run: bin/labserver ## Build and start labserver; prints one URL. ARGS="--help" shows its flags
	@scripts/run $(ARGS)

.PHONY: doctor
doctor: bin/labserver ## Say what this machine can show, and what gives the rest
	@bin/labserver doctor

# Always asked for: the go command knows best whether anything is to be done.
.PHONY: bin/labserver
bin/labserver:
	@scripts/need-go
	CGO_ENABLED=0 go build -trimpath -o bin/labserver ./cmd/labserver

.PHONY: setup
setup: ## Install what the tests need (apt packages, npm ci)
	@scripts/setup

.PHONY: test
test: ## Install what tests need and run everything. STAGES="vet go" runs some
	@scripts/test $(STAGES)

.PHONY: test-vm
test-vm: ## Run the kernel tests on Debian's kernel in qemu
	@scripts/test vm

.PHONY: bench
bench: ## Measure, and print medians and spread. ARGS="-quick" for less
	@scripts/need-go
	go run ./internal/bench $(ARGS)

.PHONY: fuzz
fuzz: ## Run each fuzz target for 10 s. FUZZTIME=5m for longer
	@scripts/fuzz

.PHONY: generate
generate: ## Build the BPF objects again (clang-19); commit them
	@scripts/need-go
	go generate ./...

.PHONY: web
web: ## Build web/dist again (Node); commit it
	cd web && npm run --silent build
