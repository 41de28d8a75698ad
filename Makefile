# Everything that needs more than Go says in one line what is missing.

GO ?= go
FUZZTIME ?= 10s
BINARY := build/welcomed
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

.PHONY: build test race vet fuzz interop bench footprint demo readme ci clean

build: $(BINARY)

.PHONY: $(BINARY)
$(BINARY):
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w -X welcomed/cli.version=$(VERSION)' -o $@ .

test:
	$(GO) test ./...

race:
	$(GO) test -race ./...

vet:
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	$(GO) vet ./...

# Each fuzz target for FUZZTIME.
fuzz:
	$(GO) test ./mls -run '^$$' -fuzz FuzzReadKeyPackage -fuzztime $(FUZZTIME)
	$(GO) test ./mls -run '^$$' -fuzz FuzzReadWelcome -fuzztime $(FUZZTIME)

# Real MLS clients (ts-mls) against the real binary.
interop: $(BINARY)
	@command -v npm >/dev/null || { echo "make interop needs Node 20 with npm, which is not installed"; exit 1; }
	cd interop && npm ci --no-audit --no-fund --silent && WELCOMED_BIN=$(CURDIR)/$(BINARY) npm test

# Claims through the store beside db.Update and db.Batch, in one run.
bench:
	$(GO) test ./bolt -run '^$$' -bench Claim -benchtime 10000x

# Size, start-up time and memory, empty and with 100,000 KeyPackages.
footprint: $(BINARY)
	$(GO) run ./bench/footprint -binary $(BINARY) -key-packages 100000

demo:
	$(GO) run . demo

# Runs the walk-through of the README as it is printed there.
readme:
	@command -v curl >/dev/null || { echo "make readme needs curl, which is not installed"; exit 1; }
	.ci/readme

ci:
	.ci/run

clean:
	rm -rf build interop/node_modules
