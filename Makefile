# make build      the programs, in bin/
# make demo       a real server, the guard, real clients and a flood, on loopback
# make test       all tests (installs the peers they talk to when root, else names the command)
# make bench      the benchmarks
# make test-portable  the cookies without assembly, and on arm64 by emulation
# make lint       golangci-lint
# make generate   write again what is generated
# make check      what CI runs: test, lint, vet, race, and generated files up to date

GO      ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -X main.version=$(VERSION)
# The programs without cgo: one static file, and privileges can be dropped on all threads.
BUILD    = CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'

# The peers that tests talk to: clients and servers, and a compiler with OpenSSL for a server of our own.
TEST_PACKAGES := openssl gnutls-bin gcc libc6-dev libssl-dev
# Pinned: what is found must not change under a commit.
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.PHONY: build demo test test-portable race vet lint generate bench check clean

build:
	$(BUILD) -o bin/ ./cmd/...

demo: build
	.ci/need openssl
	bin/dtlsguard demo

test:
	.ci/need $(TEST_PACKAGES)
	$(GO) test ./...

# The cookies on what this machine is not: without assembly, and on arm64 by emulation.
test-portable:
	.ci/need qemu-user-static
	$(GO) test -tags purego ./cookie ./frontend
	GOARCH=arm64 CGO_ENABLED=0 $(GO) test -exec qemu-aarch64-static ./cookie
	GOARCH=arm64 $(GO) vet ./...

race:
	.ci/need $(TEST_PACKAGES)
	$(GO) test -race ./...

vet:
	$(GO) vet ./...

lint:
	$(GO) run $(GOLANGCI) run ./...

generate:
	.ci/need clang-19 llvm-19
	$(GO) generate ./...

bench:
	$(GO) test -run '^$$' -bench . ./...

check: test test-portable lint vet race generate
	git diff --exit-code

clean:
	rm -rf bin
