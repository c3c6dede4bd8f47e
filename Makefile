# Everything Shoal needs, it builds from Go modules into bin/. `make help` lists the targets.
SHELL       := /bin/bash
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT      ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS     := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
GOBUILD     := CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)'
TOOLS       := $(CURDIR)/bin/tools
LINT_VERSION := v2.15.0
LINT        := $(TOOLS)/golangci-lint-$(LINT_VERSION)

NODES  ?= 5
LAYERS ?= 4
SIZE   ?= 16

.PHONY: help build image push demo test unit e2e e2e-clients e2e-kube lint bench bench-swarm hostile bench-dht sim fuzz clean

help: ## Lists the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 12

build: ## Builds the static bin/shoal
	$(GOBUILD) -o bin/shoal ./cmd/shoal

SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 1)
image: ## The container image, in dist/oci and dist/shoal-oci.tar: the same bytes from the same source
	@go run ./deploy/image build --out dist --version '$(VERSION)' --commit '$(COMMIT)' --epoch '$(SOURCE_DATE_EPOCH)'

push: image ## Pushes the image (REF=registry.example/shoal:v1; FLAGS=--plain-http)
	@go run ./deploy/image push --from dist/oci $(FLAGS) '$(REF)'

demo: build ## Pulls one image through NODES daemons at once (NODES=5 LAYERS=4 SIZE=16, MiB each)
	@$(GOBUILD) -o bin/shoal-demo ./test/demo
	@bin/shoal-demo --shoal bin/shoal --nodes $(NODES) --layers $(LAYERS) --size $(SIZE)

test: unit e2e ## Unit tests, import rules and test/e2e (root; E2E=require makes a skip a failure)

unit: ## Unit tests with the race detector, in random order, and the import rules
	go test -race -shuffle=on ./...
	go test ./deploy/image
	cd test/deploy && go test ./...

e2e: build ## Many nodes in network namespaces with real containerd (root)
	@cd test/e2e && go test ./benchswarm ./hostile ./liar ./scope && go test -count=1 -timeout 30m -v . 2>&1
	@go test -count=1 ./pkg/containerd/configtoml # again, beside the containerd that is there by now

e2e-clients: build ## Other clients pull through Shoal, with the real tools (root; minutes to build them, once; FLAGS=--if-cached)
	@cd test/e2e && go test -count=1 -timeout 60m -v ./clients $(if $(FLAGS),-args $(FLAGS)) 2>&1

e2e-kube: ## The chart and the kustomizations on a real Kubernetes of two nodes (root; FLAGS=--help)
	@mkdir -p bin && cd test/e2e && go build -o ../../bin/e2e-kube ./kube
	@bin/e2e-kube $(FLAGS)

lint: $(LINT) ## Formatting, static analysis and import rules
	$(LINT) run ./...
	cd test/e2e && $(LINT) run --config ../../.golangci.yml ./...
	cd test/deploy && $(LINT) run --config ../../.golangci.yml ./...

$(LINT):
	@mkdir -p $(TOOLS)
	GOBIN=$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@mv $(TOOLS)/golangci-lint $@

bench: build ## The figures of docs/benchmarks.md (nginx installed through apt-get when root)
	@command -v nginx >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light >/dev/null; }
	go test -run '^$$' -bench . -benchtime 2s -count 3 -cpu 1,2 ./pkg/chain
	go test -run '^$$' -bench ChunkExchange -benchtime 3s -count 3 ./p2p/exchange
	go run ./test/bench --shoal bin/shoal

SEEDS ?= 3
JOBS  ?= 2
# NODES is that of the sweep, and that of CASES if it is given on the command line.
sim: NODES := 2,6,20,100,300,1000
sim: ## Experiments on the simulated network, against their aims (SEEDS=3 JOBS=2 CASES=seeded,churn NODES=20); all of them, for hours, draw docs/sim.svg and docs/sim-small.svg over NODES too
	@$(GOBUILD) -o bin/shoal-sim ./test/sim
	@missed=0; \
	bin/shoal-sim --seeds $(SEEDS) --jobs $(JOBS) --case '$(CASES)' $(if $(CASES),$(if $(filter command line,$(origin NODES)),--nodes '$(NODES)')) || missed=$$?; \
	[ $$missed = 0 ] || [ $$missed = 3 ] || exit $$missed; \
	[ -n '$(CASES)' ] || bin/shoal-sim --sweep fast-registry --nodes '$(NODES)' --seeds $(SEEDS) --jobs $(JOBS) --svg docs/sim.svg || missed=$$?; \
	[ -n '$(CASES)' ] || bin/shoal-sim --sweep thousand-small --nodes '$(NODES)' --seeds $(SEEDS) --jobs $(JOBS) --svg docs/sim-small.svg || missed=$$?; \
	exit $$missed

# The size of bench-swarm is not that of the demo; whoever wants another gives it on the command line.
bench-swarm: NODES := 6
bench-swarm: LAYERS := 2
bench-swarm: SIZE := 32
RATE          ?= 100mbit
REGISTRY_RATE ?= $(RATE)
REPEAT        ?= 1
bench-swarm: ## Pulls on NODES nodes at once over links of RATE, real containerd (root; FLAGS=--help)
	@cd test/e2e && go build -o ../../bin/bench-swarm ./benchswarm
	@bin/bench-swarm --nodes $(NODES) --rate $(RATE) --registry-rate $(REGISTRY_RATE) --layers $(LAYERS) --size $(SIZE) \
	  --scenarios "$(SCENARIOS)" --repeat $(REPEAT) $(FLAGS)

COLLUDERS ?= 1,2
hostile: ## Members lie in every mode while others pull, real containerd, against their bounds (root; MODES=wrong-bytes,drip COLLUDERS=1,2 REPEAT=1 FLAGS=--help)
	@cd test/e2e && go build -o ../../bin/hostile ./hostile
	@bin/hostile --modes "$(MODES)" --colluders "$(COLLUDERS)" --repeat $(REPEAT) $(FLAGS)

HOSTS ?= 50,100,200,500
bench-dht: ## First contact through the DHT among HOSTS hosts on this machine, against its aim at 500 (HOSTS=50,100,200,500)
	@$(GOBUILD) -o bin/shoal-bench-dht ./test/bench/dht
	@bin/shoal-bench-dht --hosts $(HOSTS)

FUZZTIME ?= 30s
fuzz: ## Every fuzz target for FUZZTIME each
	@for pkg in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "== $$pkg $$target"; go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
	  done; \
	done

clean: ## Removes what was built, tools included
	rm -rf bin dist
