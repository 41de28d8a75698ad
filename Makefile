# Everything that needs more than Go says in one line what is missing.

GO ?= go
FUZZTIME ?= 10s
BINARY := build/welcomed
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

.PHONY: build test race vet fuzz bad-input model-test interop bench bench-compare bench-growth simulation footprint kill-test disk-test connections-test drain-test s3-test demo readme ci clean

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

# Each fuzz target for FUZZTIME, or the one in FUZZ: make fuzz FUZZ=FuzzRequest.
# An input that is new is not made small for long: what answers depend on is not
# the input alone.
FUZZ ?= FuzzReadKeyPackage FuzzReadWelcome FuzzAuthenticate FuzzClaims FuzzParseJSON FuzzRequest FuzzSequence FuzzConnection
fuzz:
	@set -e; for target in $(FUZZ); do \
		case $$target in FuzzRead*) package=./mls;; FuzzAuthenticate|FuzzClaims) package=./auth;; *) package=./server;; esac; \
		echo "$$target in $$package"; \
		$(GO) test $$package -list "^$$target\$$" | grep -qx $$target || { echo "there is no $$target in $$package"; exit 1; }; \
		$(GO) test $$package -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x; \
	done

# Bad requests and bad connections for BADTIME, with how many there were.
BADTIME ?= 1m
bad-input:
	WELCOMED_BAD_INPUT=$(BADTIME) $(GO) test ./server -run '^TestBadInput$$' -count 1 -timeout 0 -v

# Random sequences of events against the reference, MODEL_CHECKS of about a hundred
# events each. The last lines say how many were tried, or the shortest sequence
# that fails.
MODEL_CHECKS ?= 5000
model-test:
	@mkdir -p build
	@$(GO) test ./bolt -run 'TestModel$$' -v -count 1 -timeout 0 -rapid.checks $(MODEL_CHECKS) -rapid.steps 100 > build/model-test.txt; \
	status=$$?; grep -v '\[rapid\] draw' build/model-test.txt; exit $$status

# Real MLS clients (ts-mls) against the real binary.
interop: $(BINARY)
	@command -v npm >/dev/null || { echo "make interop needs Node 20 with npm, which is not installed"; exit 1; }
	cd interop && npm ci --no-audit --no-fund --silent && WELCOMED_BIN=$(CURDIR)/$(BINARY) npm test

# Claims through the store, with their processor time and allocations.
bench:
	$(GO) test ./bolt -run '^$$' -bench Claim -benchtime 50000x

# The store beside the bare bbolt prototype, PostgreSQL 15 and the disk, in one
# run. COMPARE takes flags: make bench-compare COMPARE=-quick
bench-compare: $(BINARY)
	$(GO) build -o build/compare ./bench/compare
	@build/compare -binary $(BINARY) $(COMPARE)

# The store with ten thousand, a million and ten million KeyPackages: about 10 GB
# of disk. GROWTH takes flags: make bench-growth GROWTH='-sizes 10000,1000000'
bench-growth:
	$(GO) build -o build/growth ./bench/growth
	@build/growth -dir build $(GROWTH)

# A year of life of a thousandth of a million users, in which the store is
# compared with a ledger. SIMULATION takes flags: make simulation SIMULATION=-json
simulation:
	$(GO) build -o build/year ./bench/year
	@build/year -scale 1000 -step 4h $(SIMULATION)

# A disk that breaks at every operation of a run, power cuts after each, full
# disks; the program on them. Needs Linux with FUSE, and root for small disks.
disk-test:
	@test -w /dev/fuse || { echo "make disk-test needs FUSE, and this user may not use /dev/fuse"; exit 1; }
	@mkdir -p build
	@$(GO) test ./faults/disk -count=1 -v -timeout 60m -every 1 > build/disk-test.txt; \
	status=$$?; grep -v '^=== ' build/disk-test.txt; exit $$status

# Size, start-up time and memory, empty and with 100,000 KeyPackages.
footprint: $(BINARY)
	$(GO) run ./bench/footprint -binary $(BINARY) -key-packages 100000

# The real server under load, killed KILLS times on the same file, and what it had
# acknowledged looked for: about a second for each kill. 25 are enough for a
# change. KILL takes flags: make kill-test KILL='-seed 7 -stops 50'
KILLS ?= 400
kill-test: $(BINARY)
	$(GO) build -o build/kill ./faults/kill
	@build/kill -binary $(BINARY) -dir build -kills $(KILLS) $(KILL)

# Thousands of connections that do what they should not, beside a few that behave.
# CONNECTIONS takes flags: make connections-test CONNECTIONS='-connections 1000 -duration 10s'
connections-test: $(BINARY)
	$(GO) build -o build/connections ./faults/connections
	@build/connections -binary $(BINARY) $(CONNECTIONS)
	@build/connections -binary $(BINARY) -tls $(CONNECTIONS)

# What somebody with one token can take of others in a minute, in each way that
# there is, with the budgets and without: about eight minutes. DRAIN takes flags:
# make drain-test DRAIN='-duration 5s -users 60 -each 20'
drain-test: $(BINARY)
	$(GO) build -o build/drain ./faults/drain
	@build/drain -binary $(BINARY) $(DRAIN)

# Backups to a real S3 server, which is built first: two to four minutes the first
# time, then less than two. S3TEST takes flags: make s3-test S3TEST='-run Acknowledged'
S3_SERVER := build/tools/versitygw
$(S3_SERVER):
	@echo "building an S3 server to test with"
	@GOBIN=$(CURDIR)/build/tools $(GO) install github.com/versity/versitygw/cmd/versitygw@v1.8.0

s3-test: $(BINARY) $(S3_SERVER)
	S3_SERVER=$(CURDIR)/$(S3_SERVER) WELCOMED_BIN=$(CURDIR)/$(BINARY) $(GO) test ./acceptance/s3 -count 1 -timeout 10m -v $(S3TEST)

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
