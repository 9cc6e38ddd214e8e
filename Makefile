# make test   installs what the tests need and runs them all
# make demo   the sidecar with simulated providers; nothing to set up
# make bench  measures against a bare reverse proxy
# make profile  tells the compiler where the time goes
.PHONY: test tools demo bench profile lint generate fuzz soak build

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

test: tools
	go vet ./...
	# One package at a time: many of them start fleets of processes, and time counts.
	# The profile for the compiler is for the program that is built, not for tests of it.
	@rm -f bin/chances
	TOKEN_SIDECAR_CHANCES=$(CURDIR)/bin/chances go test -race -p 1 -pgo off -timeout 40m ./...
	go test -race -short ./proxy -general
	cd charts/tests && go vet ./... && CI=1 go test -timeout 20m ./...
	@test ! -f bin/chances || cat bin/chances # tests that ran again

# Debian packages, only when the program is missing.
tools:
	./.ci/tools

build:
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o bin/token-sidecar ./cmd/token-sidecar

demo:
	go run ./cmd/demo

bench:
	go run ./cmd/bench

profile:
	go run -trimpath ./cmd/bench -profile cmd/token-sidecar/default.pgo

lint:
	test -z "$$(gofmt -l .)"
	go run $(STATICCHECK) ./...

# What is generated from the settings and the tests: README, chart, docs.
generate:
	go test ./cmd/internal/config -run Readme -update
	go test ./cmd/internal/docs -run EveryCase -update
	cd charts/tests && go test ./... -update

# Each fuzz target for half a minute.
fuzz:
	./.ci/fuzz 30s

soak: tools
	SOAK=1 go test -race -p 1 -timeout 60m ./cmd/internal/soak ./cmd/internal/fleet ./cmd/internal/flows
