# make build      the programs, in bin/
# make demo       a real server, the guard, real clients and a flood, on loopback
# make test       all tests except the matrix; as root it installs what they need, otherwise it names the command
# make test-matrix  every client against every server of the matrix of docs/servers.md; UPDATE=-update rewrites it
# make test-foreign  the same for clients and servers in Erlang, Java, Godot and node
# make test-loss  handshakes over paths that lose datagrams, with the guard and without: the table of docs/field.md, 25 minutes
# make bench      all benchmarks (bench/README.md): results, page, docs/figures.md; make bench-cookies: only the cookies
# make info       what the XDP programs cost the kernel
# make test-kernels  the guard on other kernels, drivers and numbers of CPUs, in an emulator
# make test-arm64    the guard on a kernel of 64-bit ARM, in an emulator: 3 minutes
# make test-gate     10 million mutated frames with and without the guard (make test: 800 000)
# make test-admission  2^20 mutated ClientHellos per admission policy, kernel against Go (make test: 2^15)
# make test-attacks  attacks that use knowledge of the source, 40 minutes (make test runs a short form)
# make test-probes    1000 probes per kind of server and path, on a virtual clock (make test: 20)
# make test-drivers  the guard on emulated network cards, VLANs and bonds: the table of docs/xdp.md
# make test-systemd  the packages under a real systemd: installed, served with, reloaded, upgraded, purged
# make test-charts    Helm chart, DaemonSet and Compose file: linted, rendered, checked against their types and by the guard
# make test-bare      make demo and make build on Debian 12 and 13 with only git and make
# make packages   .deb, .rpm, archives and an OCI image, in dist/; make release adds bills of materials and checksums
# make test-portable  the cookies without assembly, and on arm64 by emulation
# make lint       golangci-lint
# make generate   rewrite generated files
# make check      what CI runs: all of the above that fits in 40 minutes, and that generated files are up to date

GO      ?= $(CURDIR)/.ci/go
# Without a tag the programs report the newest release of CHANGELOG.md.
LDFLAGS := $(shell p=github.com/dtlsguard/dtlsguard/cmd/internal/version; \
	echo -X $$p.described=$$(git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null) -X $$p.revision=$$(git describe --always --match '' --dirty 2>/dev/null))
# Without cgo each program is one static file, and can drop privileges on all threads.
BUILD    = CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'

# Compilers and libraries of bench/testkit/peers.
PEER_PACKAGES := gcc libc6-dev libssl-dev libgnutls28-dev libmbedtls-dev libwolfssl-dev g++ pkg-config qt6-base-dev dpkg-dev autoconf automake libtool make
# The proxy whose established flows are compared with ours.
NGINX_PACKAGES := nginx-light libnginx-mod-stream
# Clients and servers that tests talk to, compilers for test servers, and tools that show what is attached. clang is here
# to check that the committed BPF objects match their source.
TEST_PACKAGES := openssl gnutls-bin $(PEER_PACKAGES) iproute2 nftables util-linux ethtool bpftool clang-19 llvm-19 tcpreplay netsniff-ng tshark tcpdump ocserv openconnect strace curl prometheus $(NGINX_PACKAGES)
# Servers and clients that only the matrix needs.
MATRIX_PACKAGES := android-libboringssl-dev socat botan coturn libcoap3-bin radsecproxy freeradius-utils
# Runtimes of make test-foreign, without what they recommend: that would be 300 packages more.
FOREIGN_PACKAGES := erlang-base erlang-ssl openjdk-17-jdk-headless libbctls-java godot3-server nodejs
# npm comes with the nodejs of others, and is a package of its own in Debian.
FOREIGN_PACKAGES += $(if $(shell command -v npm),,npm)
NEED_FOREIGN = APT_OPTIONS=--no-install-recommends .ci/need $(FOREIGN_PACKAGES)
# The emulator that boots other kernels, and the contents of their file systems.
EMULATOR_PACKAGES := qemu-system-x86 busybox-static xz-utils debian-archive-keyring xdp-tools
# The kernels of make test-kernels: Debian's series; 6 and 7 are the newest of each.
KERNELS := 6.1,6.12,6,7
# The cache for downloaded kernels (package emulator).
KERNEL_CACHE := $(or $(DTLSGUARD_KERNEL_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/dtlsguard/kernels)
# One package at a time, because lab tests need the CPUs. No cached results, because the cache does not know the programs
# that tests build and run.
TURNS := -p 1 -count=1
BENCH_PACKAGES := clang-19 llvm-19 openssl $(PEER_PACKAGES) $(NGINX_PACKAGES)
# Pinned, so that a commit's findings stay the same.
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.PHONY: build demo test test-attacks test-loss test-matrix test-foreign test-kernels test-arm64 test-gate test-admission test-probes test-portable test-systemd test-charts test-bare packages release race vet lint generate bench bench-deps bench-cookies info check clean

build:
	$(BUILD) -o bin/ ./cmd/...

demo: build
	.ci/need openssl
	bin/dtlsguard demo

test:
	.ci/need $(TEST_PACKAGES)
	$(GO) test $(TURNS) -timeout 20m ./...

# Every client against every server, through the guard; docs/servers.md must agree.
test-matrix:
	.ci/need $(TEST_PACKAGES) $(MATRIX_PACKAGES)
	$(if $(UPDATE),$(NEED_FOREIGN))
	$(GO) test $(TURNS) -timeout 5m -run TestMatrix ./test/e2e -matrix $(UPDATE)

# The rows and clients of the matrix that need a runtime.
test-foreign:
	.ci/need $(TEST_PACKAGES) $(MATRIX_PACKAGES)
	$(NEED_FOREIGN)
	$(GO) test $(TURNS) -timeout 8m -run TestForeign ./test/e2e -foreign $(UPDATE)

# The table of docs/field.md; UPDATE=-update rewrites it. ROWS selects rows by a regular expression, such as 'reset.*20 ms'.
ROWS ?=
test-loss:
	.ci/need $(TEST_PACKAGES)
	$(GO) test $(TURNS) -timeout 60m -run TestLossTable ./test/e2e -loss -rows '$(ROWS)' -v $(UPDATE)

# Two kernels at a time; GUEST selects the tests that run in them. One kernel: go test ./test/kernels -run 'Kernel$' -kernel 6.12
GUEST ?= ^TestGuest
test-kernels:
	.ci/need $(TEST_PACKAGES) $(EMULATOR_PACKAGES)
	$(GO) test $(TURNS) -timeout 80m -run 'TestKernel$$$(if $(filter ^TestGuest,$(GUEST)),|OneCPU|TooOld)' ./test/kernels -kernel $(KERNELS) $(if $(filter-out ^TestGuest,$(GUEST)),-guest '$(GUEST)')

# A kernel of 64-bit ARM, with Debian's programs for it.
test-arm64:
	.ci/need $(TEST_PACKAGES) $(EMULATOR_PACKAGES) qemu-system-arm gcc-aarch64-linux-gnu
	$(GO) test -count=1 -v -timeout 40m -run 'TestArm64$$' ./test/kernels -arm64 -guest '^TestGuest(Verifier|Shapes)'

# The table of docs/xdp.md: drivers, VLANs and bonds, on the newest kernel; UPDATE=-update rewrites it.
test-drivers:
	.ci/need $(TEST_PACKAGES) $(EMULATOR_PACKAGES)
	$(GO) test $(TURNS) -timeout 80m -run KernelDrivers ./test/kernels -kernel $(KERNELS) $(UPDATE)

# The whole attacks, 40 minutes; make test runs their short form.
test-attacks:
	.ci/need $(TEST_PACKAGES)
	$(GO) test -v -count=1 -timeout 60m ./test/attacks -whole

# No frame may pass that the parser does not understand.
test-gate:
	$(GO) test -v -count=1 -timeout 30m -run TestNothingPassesUnparsed ./bpf -frames 5000000

# Kernel and workers must admit the same clients.
test-admission:
	$(GO) test -v -count=1 -timeout 60m -run TestAdmissionDifferential ./bpf -mutations 1048576

# The probes must find the right mode for each kind of server and path.
test-probes:
	$(GO) test -count=1 -run 'TestProbes$$' ./frontend/handoff -probes 1000

# Cookies on other machines: without assembly, and on arm64 by emulation.
test-portable:
	.ci/need qemu-user-static
	$(GO) test -tags purego ./cookie/... ./frontend
	GOARCH=arm64 CGO_ENABLED=0 $(GO) test -exec qemu-aarch64-static ./cookie/...
	GOARCH=arm64 $(GO) vet ./...

# Left out: tests that drive the built program, which has no race detector, and bpf's, which run programs in the kernel.
race:
	.ci/need $(TEST_PACKAGES)
	$(GO) test -race -timeout 20m $(TURNS) $$($(GO) list ./... | grep -vE '/test/(lab|attacks|kernels|systemd|libraries)|/compare/scenario|/bpf$$')

# Needed by make packages and by the test of the packages.
PACKAGE_PACKAGES := git xz-utils
SYSTEMD_PACKAGES := $(PACKAGE_PACKAGES) rpm systemd dbus openssl iproute2 util-linux man-db lintian libcap2-bin curl prometheus tshark gcc libc6-dev libssl-dev

packages:
	.ci/need $(PACKAGE_PACKAGES)
	GO='$(GO)' deploy/package/build dist

release:
	.ci/need $(PACKAGE_PACKAGES)
	GO='$(GO)' deploy/package/release dist

test-systemd:
	.ci/need $(SYSTEMD_PACKAGES)
	GO='$(GO)' $(GO) test $(TURNS) -v -timeout 15m ./test/systemd -systemd

# Helm is built from its module.
test-charts:
	GO='$(GO)' deploy/helm/check

# Ten minutes, most of them downloads; TARGETS='demo test' also runs the tests there, half an hour more per release.
test-bare:
	.ci/need debootstrap
	test/bare/run bookworm trixie

vet:
	$(GO) vet ./...

lint:
	$(GO) run $(GOLANGCI) run ./...

generate:
	.ci/need clang-19 llvm-19
	$(GO) generate ./...

# Compilers and libraries of the peers that the benchmarks compare with.
bench-deps:
	.ci/need $(BENCH_PACKAGES)

# All benchmarks, about 13 minutes: needs root and two quiet CPUs. Five interleaved runs of 1 s each.
bench: bench-deps
	$(GO) run ./cmd/dtlsbench -readme docs/figures.md -readme bench/README.md

# Cost of a cookie by implementation and batch size, as a table and as cookie/cookies.svg: medians of 11 runs.
bench-cookies:
	for i in $$(seq 11); do $(GO) test -run '^$$' -bench 'Cookies|StdHMAC' -benchtime 40ms ./cookie/internal/lanes; done | \
		$(GO) run ./cmd/dtlsbench cookies -svg cookie/cookies.svg

# What the programs cost the kernel: instructions, instructions verified, stack. Then the same on other kernels;
# UPDATE=-update rewrites the table of docs/xdp.md.
info:
	$(GO) run ./bpf/info
	.ci/need $(TEST_PACKAGES) $(EMULATOR_PACKAGES)
	$(GO) test $(TURNS) -run 'TestKernel$$' ./test/kernels -kernel $(KERNELS) -guest Costs -v $(UPDATE) | grep -oE 'Linux [0-9].*|[a-z_]+ +[0-9]+ instructions verified.*'

check: test test-matrix test-kernels test-systemd test-charts test-portable lint vet race generate
	git diff --exit-code

clean:
	rm -rf bin dist $(KERNEL_CACHE)
