# Everything that people and CI do with this repository: `make run` to try it, `make test` before you send a change.

MOUNT   ?= /mnt/commy
override MOUNT := $(abspath $(MOUNT))
VERSION ?= $(or $(shell git describe --tags --always --dirty 2>/dev/null),$(shell sed -n 's/^## \[*\([0-9][^] ]*\).*/\1/p' CHANGELOG.md | head -1),unknown)

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOLANGCI    = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.9.0

export CGO_ENABLED = 0
# Instead of a second at the end of every process.
export GORACE = atexit_sleep_ms=10
export PATH := $(PATH):/usr/sbin:/sbin

packages = $(shell go list ./... | grep -v /integration)

.PHONY: all deps build run stop test lint unit kernels integration fuzz conformance bench bench-peers bench-diff asm image clean

all: build

deps:
	.ci/deps

build:
	go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/commyfs ./cmd/commyfs

run: build
	@.ci/deps run
	@if grep -q ' $(MOUNT) fuse.commyfs ' /proc/mounts && ls $(MOUNT) >/dev/null 2>&1; then \
		echo 'commyfs is already mounted on $(MOUNT).'; \
	else \
		{ mkdir -p $(MOUNT) 2>/dev/null || sudo install -d -o "$$(id -u)" $(MOUNT); } && bin/commyfs mount $(MOUNT) --daemon && echo 'commyfs is mounted on $(MOUNT).'; \
	fi
	@echo
	@echo '  mkdir -p $(MOUNT)/plant/line1              # a tenant and a service'
	@echo '  echo 21.5 > $(MOUNT)/plant/line1/temp      # a variable'
	@echo '  cat $(MOUNT)/plant/line1/temp'
	@echo '  inotifywait -m $(MOUNT)/plant/line1        # watch it'
	@echo
	@echo '`bin/commyfs status` shows the server and its mounts, `make stop` unmounts.'

stop:
	@if grep -q ' $(MOUNT) fuse.commyfs ' /proc/mounts; then bin/commyfs umount $(MOUNT); else echo 'commyfs is not mounted on $(MOUNT).'; fi

# Fast checks first. COMMYFS_REQUIRE=all: a test that cannot run here fails instead of being skipped.
test: export COMMYFS_REQUIRE = all
test: deps
	$(MAKE) --no-print-directory lint
	$(MAKE) --no-print-directory unit
	$(MAKE) --no-print-directory kernels
	$(MAKE) --no-print-directory integration

lint:
	@files=$$(gofmt -l .); [ -z "$$files" ] || { echo "run gofmt -w:" $$files >&2; exit 1; }
	GOARCH=amd64 go vet ./...
	GOARCH=arm64 go vet ./...
	go run $(STATICCHECK) ./...
	go run $(GOLANGCI) run ./...
	@if getent hosts vuln.go.dev >/dev/null; then go run $(GOVULNCHECK) ./...; else echo 'govulncheck: skipped, vuln.go.dev cannot be reached'; fi
	go mod tidy -diff
	.ci/generated

# With the race detector, except diff: it has no goroutines, and a build with the detector has none of its assembly. And
# without it too: memfile, at the speed at which readers and writers in different processes meet, and fs/estate, whose
# instructions are run one by one.
unit:
	CGO_ENABLED=1 go test -race -count=1 -timeout 10m $(filter-out %/diff,$(packages))
	go test -count=1 -timeout 5m ./diff ./memfile ./fs/estate

# Package diff as on other machines: without assembly, and on processors that qemu emulates, where a kernel that must not be
# chosen dies of SIGILL. See docs/simd.md.
kernels:
	GOARCH=386 go vet ./diff/...
	GOARCH=arm64 go vet -tags noasm ./diff/...
	cd diff/_asm && go vet ./...
	COMMYFS_DIFF_WANT=portable go test -count=1 -tags noasm ./diff
	COMMYFS_DIFF_WANT=portable GOARCH=amd64 go test -count=1 -short -exec 'qemu-x86_64-static -cpu Nehalem' ./diff
	COMMYFS_DIFF_WANT=avx2 GOARCH=amd64 go test -count=1 -short -exec 'qemu-x86_64-static -cpu Haswell' ./diff
	COMMYFS_DIFF_WANT=neon GOARCH=arm64 go test -count=1 -short -exec qemu-aarch64-static ./diff

# The real binary, built with the race detector: a report in any of its logs fails the test.
integration:
	COMMYFS_TEST_RACE=1 go test -count=1 -timeout 30m -parallel 4 ./integration
	go test -count=1 -timeout 5m ./integration/hostile

fuzz:
	.ci/fuzz 10s

# Third-party suites, not part of `make test`: docs/testing.md says what they need and what they show.
conformance:
	.ci/conformance $(ARGS)

bench: build
	go test -run '^$$' -bench . -benchmem $(packages)
	bin/commyfs bench --output json

# commyfs against its goals, of which docs/performance.md tells, one line each: `make bench-peers ARGS='-json -rows "echo.*"'`.
bench-peers: build
	@.ci/deps bench
	@go run ./internal/bench/peers $(ARGS)

# Package diff against its goals, one line each; `make bench-diff ARGS=-json` for machines.
bench-diff:
	@go run ./diff/benchdiff $(ARGS)

# Generate the assembly of package diff from diff/_asm.
asm:
	go generate ./diff/...

image:
	$(or $(shell command -v podman),docker) build --build-arg VERSION=$(VERSION) -t commyfs:$(VERSION) .

clean:
	rm -rf bin
