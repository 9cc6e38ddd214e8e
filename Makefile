# make test        installs what the tests need and runs them all
# make test-short  runs those that need no other process, in a minute or so
# make demo        the sidecar with simulated providers; nothing to set up
# make bench       measures against a bare reverse proxy
# make soak        the long runs
# make kube        the chart against a real API server; the first run builds that, for minutes
# make release VERSION=v1.2.3   the files of a release, in dist; see docs/release/README.md
.PHONY: test test-short tools demo bench lint generate screenshot fuzz soak kube build release

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

test: tools
	./.ci/test

test-short:
	./.ci/test short

# Debian packages, only when the program is missing.
tools:
	./.ci/tools

build:
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o bin/token-sidecar ./cmd/token-sidecar

demo:
	go run ./cmd/demo

bench:
	go run ./cmd/bench

lint:
	test -z "$$(gofmt -l .)"
	go run $(STATICCHECK) ./... ./.ci/structure
	go run ./.ci/structure ./...

# What is generated from the settings and the tests: docs and chart.
generate:
	go test ./cmd/internal/config -run SettingsPage -update
	go test ./cmd/internal/docs -run 'EveryCase|Picture' -update
	cd charts/tests && go test ./... -update

# The status page in docs, of four providers that do well; look at both pictures before a commit.
screenshot: tools
	go test ./cmd/internal/sidecar -run Screenshots -screenshots -count=1

# Each fuzz target for half a minute, and those of the reader of HTTP for an hour together.
fuzz:
	./.ci/fuzz 30s
	./.ci/fuzz 20m ./proxy/internal/http1

# The sidecar under load is another process, in which the race detector of the tests
# sees nothing; without it they make the load that the long runs are about.
soak: tools
	SOAK=1 go test -p 1 -v -timeout 60m ./cmd/internal/soak ./cmd/internal/fleet ./cmd/internal/flows ./cache/shared/model
	SOAK=1 go test -v -timeout 60m -run ColdFleet ./cache

# kube-apiserver of the version in charts/tests/kube/go.mod stays in the user's cache directory.
kube:
	./.ci/tools kube
	./.ci/kube

# With IMAGE=1 it fails if the image cannot be made, which needs BASE_IMAGE.
release:
	cd docs/release && go run . -version "$(VERSION)" -out ../../dist $(if $(IMAGE),-image)
