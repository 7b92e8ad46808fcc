# SPDX-License-Identifier: Apache-2.0

GO ?= go
# ARGS are for the sandbox and for bench-kong: make run ARGS="-listen 127.0.0.1:9000"
ARGS ?=
BENCH ?= .
COUNT ?= 1
FUZZTIME ?= 5s
# TIMEOUT is for the tests of one package: a machine may be slow or busy.
TIMEOUT ?= 60m

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
MODULE := $(shell $(GO) list -m)
PLUGINS := ./cmd/prisma-airs-intercept ./cmd/noma-runtime-protection

# The same source gives the same binaries, wherever it is built.
BUILD := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false \
	-ldflags "-s -w -X $(MODULE)/internal/program.stamp=$(VERSION)" -o bin/

# -race where it works: it needs a C compiler.
RACE = $(shell d=$$(mktemp -d) && printf 'package main\n\nimport "C"\n\nfunc main() {}\n' >$$d/main.go && \
	CGO_ENABLED=1 $(GO) build -race -o $$d/main $$d/main.go 2>/dev/null && $$d/main && echo -race; rm -rf $$d)

.DEFAULT_GOAL := help
.PHONY: help run demo build test test-kong unit clients lint generate bench bench-kong fuzz cover dist clean

help: ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

run: build ## start the sandbox: both plugins behind a gateway that plays Kong
	@exec bin/sandbox $(ARGS)

demo: build ## play what the plugins do, and check it
	@exec bin/sandbox -demo -free-ports

build: ## build the plugins and the sandbox into bin/
	@$(BUILD) $(PLUGINS) ./cmd/sandbox

# Each part runs whatever became of those before, so that one run tells all.
test: ## all checks and tests, with the race detector where there is a C compiler
	@failed=; for part in lint unit clients; do $(MAKE) --no-print-directory $$part || failed="$$failed $$part"; done; \
	test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

# Every way of building takes all packages anew. What the tests run is built as
# `make build` does it, and what vet reads, too; the race detector alone needs a
# way of its own, and the binaries that its tests build do not follow it. Nobody
# debugs any of them, and without the tables for that they are linked faster.
test unit clients lint: export CGO_ENABLED = 0
test unit clients lint: export GOFLAGS := $(shell $(GO) env GOFLAGS) -trimpath -buildvcs=false -ldflags=-w

# A body is decoded and read on one goroutine, and the thousands that are made up
# for internal/llm and internal/contentcoding take up to ten times as long under the
# detector: all of their tests run without it, and those that do many at once with it. What runs the real
# binaries would only have its own harness looked at, and mostly waits: it runs
# beside the others, which leave a core idle now and then. What takes longest
# begins first. What vet finds, lint says: with the detector it would look at all
# that is imported anew.
unit:
	@race="$(RACE)"; test -n "$$race" || echo "No C compiler that works: the tests run without the race detector."; \
	run() { $(GO) test -vet=off -timeout $(TIMEOUT) "$$@"; }; \
	detect() { if test -n "$$race"; then CGO_ENABLED=1 $(GO) test -race -exec 'env CGO_ENABLED=0' -vet=off -timeout $(TIMEOUT) "$$@"; else run "$$@"; fi; }; \
	plain='./internal/llm ./tests/corpus ./tests/exchange ./internal/contentcoding'; long='./plugins/noma ./internal/guard ./internal/sim/kongtest ./plugins/airs ./internal/pluginserver'; \
	only=$$($(GO) list $$plain); failed=; \
	run -p 1 -parallel 4 $$plain & beside=$$!; \
	detect $$long $$($(GO) list ./... | grep -Fvx "$$only") || failed=1; \
	detect -run '^Test(Golden|ConcurrentDecodes)$$' ./internal/llm ./internal/contentcoding || failed=1; \
	wait $$beside || failed=1; \
	test -z "$$failed"

# Real clients in a module of their own: they take long to build.
clients:
	cd tests/clients && $(GO) test -vet=off -timeout $(TIMEOUT) ./...

# Kong is the one on PATH, or KONG_BIN.
test-kong: ## both plugins on a real Kong, if there is one
	TEST_KONG=1 $(GO) test -count=1 -timeout $(TIMEOUT) ./tests/kong
	TEST_KONG=1 $(GO) test -count=1 -timeout $(TIMEOUT) ./tests/corpus -run TestOnKong

lint: ## formatting, vet, staticcheck, and whether the generated files are fresh
	@files="$$($(GO) tool gofumpt -l .)"; test -z "$$files" || { echo "not formatted by gofumpt:"; echo "$$files"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) test ./cmd/generate
	cd tests/clients && $(GO) vet ./...
	$(GO) tool actionlint -shellcheck= -pyflakes=

generate: ## write the schemas and the reference pages from the plugins' declarations
	$(GO) run ./cmd/generate

bench: ## all benchmarks; BENCH chooses, COUNT repeats
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) ./...

# Kong is the one on PATH, or KONG_BIN. LUA_DIR has plugins in Lua to compare with.
bench-kong: ## what an exchange costs a real Kong, if there is one; needs wrk
	@$(BUILD) $(PLUGINS) ./cmd/bench-kong && bin/bench-kong $(ARGS)

fuzz: ## each fuzz target for FUZZTIME (5s)
	@for file in $$(grep -rl --include='*_test.go' '^func Fuzz' cmd internal plugins | sort); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$file); do \
			echo "== $${file%/*} $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x ./$${file%/*} || exit 1; \
		done; \
	done

cover: ## test coverage, as a list and in coverage.out
	$(GO) test -coverprofile=coverage.out -coverpkg=./internal/...,./plugins/... ./...
	$(GO) tool cover -func=coverage.out

dist: ## the archives of a release, in dist/: they run by their own README
	@$(GO) run ./cmd/dist -version "$(VERSION)" -time "$$(git log -1 --format=%ct)"

clean: ## remove what was made
	rm -rf bin dist coverage.out
