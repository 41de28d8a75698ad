# Everything that needs more than Go says in one line what is missing.

GO ?= go
FUZZTIME ?= 10s
BINARY := build/welcomed
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null)

.PHONY: dependencies build man completion test race vet fuzz bad-input model-test typescript typescript-browser openapi-lint interop bench bench-compare bench-growth simulation footprint kill-test disk-test connections-test drain-test s3-test image-test compose-check proxy-test status-test status-screenshot observe-test demo readme release release-check package-test operate-test arm-test ci clean

build: $(BINARY)

.PHONY: $(BINARY)
$(BINARY):
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w -X welcomed/cli.version=$(VERSION)' -o $@ .

# The manual page, and what shells complete command lines with.
man: $(BINARY)
	@mkdir -p build/man
	SOURCE_DATE_EPOCH=$(EPOCH) $(BINARY) man > build/man/welcomed.1

completion: $(BINARY)
	@mkdir -p build/completion
	$(BINARY) completion bash > build/completion/welcomed.bash
	$(BINARY) completion zsh > build/completion/_welcomed
	$(BINARY) completion fish > build/completion/welcomed.fish

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
FUZZ ?= FuzzReadKeyPackage FuzzReadWelcome FuzzAuthenticate FuzzClaims FuzzParseJSON FuzzRequest FuzzSequence FuzzConnection FuzzReader FuzzFile FuzzImport FuzzRevoked FuzzPlain
fuzz:
	@set -e; for target in $(FUZZ); do \
		case $$target in FuzzReader) package=./delivery/archive;; FuzzRead*) package=./mls;; FuzzAuthenticate|FuzzClaims) package=./auth;; FuzzFile|FuzzImport|FuzzRevoked) package=./bolt;; FuzzPlain) package=./backup;; *) package=./server;; esac; \
		echo "$$target in $$package"; \
		grep -q "^func $$target(" $$package/*_test.go || { echo "there is no $$target in $$package"; exit 1; }; \
		$(GO) test -tags fuzz $$package -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x; \
	done

# Bad requests and bad connections for BADTIME, with how many there were.
BADTIME ?= 1m
bad-input:
	WELCOMED_BAD_INPUT=$(BADTIME) $(GO) test ./server -run '^TestBadInput$$' -count 1 -timeout 0 -v

# Random sequences of events against the reference, MODEL_CHECKS of about a hundred
# events each, over rows in memory and over a file. The last lines say how many were
# tried, or the shortest sequence that fails. They are others each time; MODEL='-rapid.seed 7' has them be the same.
MODEL_CHECKS ?= 5000
MODEL ?=
model-test:
	@mkdir -p build
	@$(GO) test ./store ./bolt -run 'TestModel$$' -v -count 1 -timeout 0 -rapid.checks $(MODEL_CHECKS) -rapid.steps 100 $(MODEL) > build/model-test.txt; \
	status=$$?; grep -v '\[rapid\] draw' build/model-test.txt; exit $$status

# The TypeScript client against the real binary, in Node.
typescript: $(BINARY) node-modules
	cd clients/typescript && WELCOMED_BIN=$(CURDIR)/$(BINARY) npm test

# The client in a real Chromium, in a page of another origin.
typescript-browser: $(BINARY) status-modules
	cd clients/typescript && WELCOMED_BIN=$(CURDIR)/$(BINARY) CHROMIUM=$(CHROMIUM) npm run --silent test:browser

# The client, built, and the MLS library that trials use with it.
.PHONY: node-modules
node-modules:
	@command -v npm >/dev/null || { echo "this needs Node 20 with npm, which is not installed"; exit 1; }
	cd clients/typescript && npm ci --no-audit --no-fund --silent && npm run --silent build
	cd trials/interop && npm ci --no-audit --no-fund --silent

# The description of the API, by the rules of Redocly.
openapi-lint:
	@command -v npm >/dev/null || { echo "make openapi-lint needs Node 20 with npm, which is not installed"; exit 1; }
	cd trials/openapi && npm ci --no-audit --no-fund --silent && REDOCLY_TELEMETRY=off npm run --silent lint

# Real MLS clients (ts-mls) against the real binary.
interop: $(BINARY) node-modules
	cd trials/interop && WELCOMED_BIN=$(CURDIR)/$(BINARY) npm test

# The status page of the real binary in a real Chromium, in every state, with real
# objects; pictures of each go to build/statuspage.
CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser)
status-test: $(BINARY) status-modules
	cd trials/statuspage && WELCOMED_BIN=$(CURDIR)/$(BINARY) CHROMIUM=$(CHROMIUM) npm test

# The picture in the README, of MINUTES of life.
MINUTES ?= 8
status-screenshot: $(BINARY) status-modules
	@command -v pngquant >/dev/null || { echo "make status-screenshot needs pngquant, which is not installed"; exit 1; }
	cd trials/statuspage && MINUTES=$(MINUTES) PICTURE=$(CURDIR)/docs/status-page.png WELCOMED_BIN=$(CURDIR)/$(BINARY) CHROMIUM=$(CHROMIUM) npm run --silent screenshot

.PHONY: status-modules
status-modules: node-modules
	@test -n "$(CHROMIUM)" || { echo "this needs Chromium, which is not installed"; exit 1; }
	cd trials/statuspage && npm ci --no-audit --no-fund --silent

# Claims through the store, with their processor time and allocations, and what each
# event reads and writes beside thousands of rows of the same user.
bench:
	$(GO) test ./bolt -run '^$$' -bench Claim -benchtime 50000x
	$(GO) test ./store -run 'TestAnEventReadsWhatItChanges|TestASweepReads' -count 1 -v | grep cost_test

# The store beside the first design in PostgreSQL 15, and the disk, in one
# run. COMPARE takes flags: make bench-compare COMPARE=-quick
bench-compare: $(BINARY)
	$(GO) build -o build/compare ./trials/compare
	@build/compare -binary $(BINARY) $(COMPARE)

# The store with ten thousand, a million and ten million KeyPackages: about 10 GB
# of disk. GROWTH takes flags: make bench-growth GROWTH='-sizes 10000,1000000'
bench-growth:
	$(GO) build -o build/growth ./trials/growth
	@build/growth -dir build $(GROWTH)

# A year of life of a thousandth of a million users, in which the store is
# compared with a ledger. SIMULATION takes flags: make simulation SIMULATION=-json
simulation:
	$(GO) build -o build/year ./trials/year
	@build/year -scale 1000 -step 4h $(SIMULATION)

# A disk that breaks at every operation of a run, power cuts after each, full
# disks; the program on them. Needs Linux with FUSE, and root for small disks.
disk-test:
	@test -w /dev/fuse || { echo "make disk-test needs FUSE, and this user may not use /dev/fuse"; exit 1; }
	@mkdir -p build
	@$(GO) test ./trials/disk -count=1 -v -timeout 60m -every 1 > build/disk-test.txt; \
	status=$$?; grep -v '^=== ' build/disk-test.txt; exit $$status

# What each dependency costs: processor time of a build from an empty cache, which is
# some minutes of it, and bytes of the binary.
dependencies:
	$(GO) build -o build/dependencies ./trials/dependencies
	build/dependencies

# Size, start-up time and memory, empty and with 100,000 KeyPackages. FOOTPRINT takes
# flags: make footprint FOOTPRINT='-key-packages 1000'
footprint: $(BINARY)
	$(GO) build -o build/footprint ./trials/footprint
	@build/footprint -binary $(BINARY) $(FOOTPRINT)

# The real server under load, killed KILLS times on the same file, and what it had
# acknowledged looked for: about a second for each kill. 25 are enough for a
# change. KILL takes flags: make kill-test KILL='-seed 7 -stops 50'. Then an app with the
# Go client is killed CLIENT_KILLS times, which takes a minute.
KILLS ?= 400
CLIENT_KILLS ?= 240
kill-test: $(BINARY)
	$(GO) build -o build/kill ./trials/kill
	@build/kill -binary $(BINARY) -dir build -kills $(KILLS) $(KILL)
	$(GO) test -count 1 ./client -run TestNothingIsLostByKills -v -kills $(CLIENT_KILLS)

# Thousands of connections that do what they should not, beside a few that behave.
# CONNECTIONS takes flags: make connections-test CONNECTIONS='-connections 1000 -duration 10s'
connections-test: $(BINARY)
	$(GO) build -o build/connections ./trials/connections
	@build/connections -binary $(BINARY) $(CONNECTIONS)
	@build/connections -binary $(BINARY) -tls $(CONNECTIONS)

# What somebody with one token can take of others in a minute, in each way that
# there is, with the budgets and without: about eight minutes. DRAIN takes flags:
# make drain-test DRAIN='-duration 5s -users 60 -each 20'
drain-test: $(BINARY)
	$(GO) build -o build/drain ./trials/drain
	@build/drain -binary $(BINARY) $(DRAIN)

# What a release consists of, in build/release: archives, Debian packages, an SBOM
# and checksums. RELEASE builds some of it: make release RELEASE=linux_amd64
# The description of the API in a version is kept, for the next to be compared with.
RELEASED_AT = $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct))
release:
	@command -v dpkg-deb >/dev/null || { echo "make release needs dpkg-deb, of the Debian package dpkg, which is not installed"; exit 1; }
	@! echo "$(VERSION)" | grep -qE '^v[0-9]+\.[0-9]+\.[0-9]+$$' || cmp -s server/openapi/openapi.json server/openapi/testdata/released.json || { \
	  echo "before the tag: cp server/openapi/openapi.json server/openapi/testdata/released.json, and commit it"; exit 1; }
	@VERSION=$(VERSION) SOURCE_DATE_EPOCH=$(RELEASED_AT) RELEASE="$(RELEASE)" GO="$(GO)" deploy/release/build.sh build/release

# Builds it twice, in other places and circumstances, and compares the bytes.
release-check:
	@command -v dpkg-deb >/dev/null || { echo "make release-check needs dpkg-deb, of the Debian package dpkg, which is not installed"; exit 1; }
	@VERSION=$(VERSION) SOURCE_DATE_EPOCH=$(RELEASED_AT) RELEASE="$(RELEASE)" GO="$(GO)" deploy/release/check.sh

# The Debian package in a clean Debian with systemd: installed, used, upgraded,
# removed, purged. Needs root; the first run makes the Debian, in two minutes.
package-test:
	@test "$$(id -u)" = 0 || { echo "make package-test makes a Debian with its own systemd, for which it has to be root"; exit 1; }
	@command -v debootstrap >/dev/null || { echo "make package-test needs debootstrap, which is not installed"; exit 1; }
	@trials/package/run

# docs/operate.md, command by command, in a clean Debian with systemd that has only
# the package. OPERATE=-write pastes what the commands print into it.
operate-test:
	@test "$$(id -u)" = 0 || { echo "make operate-test makes a Debian with its own systemd, for which it has to be root"; exit 1; }
	@command -v debootstrap >/dev/null || { echo "make operate-test needs debootstrap, which is not installed"; exit 1; }
	@OPERATE="$(OPERATE)" trials/operate/run

# The 32-bit builds under qemu-user: the store, and a walk through the program.
arm-test:
	@command -v qemu-arm-static >/dev/null || { echo "make arm-test needs qemu-arm-static, of the Debian package qemu-user-static, which is not installed"; exit 1; }
	@trials/arm/run

# The image of the Dockerfile, built and run. Needs root and Debian's buildah; pulls nothing.
image-test:
	trials/image/run

# Whether compose would understand deploy/compose.yaml, and finds what it names.
compose-check:
	trials/image/compose

# The real server behind Debian's caddy, nginx and haproxy with the configurations of
# deploy/.
proxy-test: $(BINARY)
	@for p in caddy nginx haproxy; do command -v $$p >/dev/null || { echo "make proxy-test needs $$p, which is not installed"; exit 1; }; done
	WELCOMED_PROXY_TEST=$(CURDIR)/$(BINARY) $(GO) test ./trials/proxy -count=1 -v

# A real Prometheus on a real server: every query of deploy/prometheus and
# deploy/grafana has data, alerts fire and end. About 80 seconds.
observe-test: $(BINARY)
	@command -v prometheus >/dev/null && command -v promtool >/dev/null || { echo "make observe-test needs Prometheus with promtool (Debian: prometheus), which is not installed"; exit 1; }
	$(GO) build -o build/observe ./trials/observe
	@build/observe -binary $(BINARY)

# Backups to a real S3 server, which is built first: two to four minutes the first
# time, then less than two. S3TEST takes flags: make s3-test S3TEST='-run Acknowledged'
S3_SERVER := build/tools/versitygw
$(S3_SERVER):
	@echo "building an S3 server to test with"
	@GOBIN=$(CURDIR)/build/tools $(GO) install github.com/versity/versitygw/cmd/versitygw@v1.8.0

s3-test: $(BINARY) $(S3_SERVER)
	S3_SERVER=$(CURDIR)/$(S3_SERVER) WELCOMED_BIN=$(CURDIR)/$(BINARY) $(GO) test ./trials/s3 -count 1 -timeout 10m -v $(S3TEST)

demo:
	$(GO) run . demo

# Runs the walk-through of the README as it is printed there.
readme:
	@command -v curl >/dev/null || { echo "make readme needs curl, which is not installed"; exit 1; }
	@command -v npm >/dev/null || { echo "make readme needs Node 20 with npm, which is not installed"; exit 1; }
	.ci/readme

ci:
	.ci/run

clean:
	rm -rf build clients/typescript/build clients/typescript/dist clients/typescript/node_modules trials/interop/node_modules trials/openapi/node_modules trials/statuspage/node_modules
