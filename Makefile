# Open vStorage in Go. `make run` serves a complete one-node datastore; `make test` is the gate. See README.md.
GO       ?= go
export GOFLAGS ?= -buildvcs=false
# The product is pure Go; only the race detector needs cgo.
VERSION  ?= $(shell git describe --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.version=$(VERSION)
# Packages that tests outside Go need; `make deps` installs them.
TOOLS    := gcc libc6-dev libnfs-utils qemu-utils qemu-block-extra iproute2 e2fsprogs rpcbind netbase ca-certificates git
GUEST    := qemu-system-x86 debootstrap busybox-static
SERVE    ?=
BENCH    ?=
# More flags of a proof, and how long one call of it may take; the next call goes on.
PROOF     ?=
PROOFTIME ?= 120m
BLACKOUT ?=
FUZZTIME ?= 120s
FUZZ     ?=
SOAK     ?=

.PHONY: all build run test unit lint deps deps-system bench fuzz system proof-crash proof-powercut proof-blackout proof-soak proof-start proof-faults proof-fresh clean

all: build

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ovs ./cmd/ovs

run: build
	./bin/ovs serve $(SERVE)

# deps installs what the tests need, where it may (root and apt); else it says what is missing.
deps:
	@./tests/deps.sh $(TOOLS)

deps-system: deps
	@./tests/deps.sh $(GUEST)

lint:
	$(GO) vet ./...
	$(GO) vet -tags system,proof,planted ./tests/... ./internal/planted
	$(GO) tool staticcheck ./...
	$(GO) tool staticcheck -tags system,proof,planted ./tests/... ./internal/planted

test: deps build lint unit

# The race detector is on; packages that drive Dragonboat take most of the time. The exhaustive tests leave calls out under
# it, so they run once more without.
unit:
	CGO_ENABLED=1 $(GO) test -race -timeout 14m ./...
	$(GO) test -run 'Every.*Call|Exhaust' ./dtl ./albaproxy ./volumedriver ./filedriver

clean:
	rm -rf bin

# Every fuzz target for FUZZTIME; leaves docs/proof/fuzz.md, and what it finds in testdata/fuzz. A run that was cut off is
# continued.
fuzz:
	$(GO) run ./tests/fuzz -time $(FUZZTIME) $(FUZZ)

# Figures beside their floors, and where the time goes; leaves docs/proof/bench.md. A run that was cut off is continued.
bench: build
	$(GO) build -o bin/bench ./tests/bench
	./bin/bench -ovs bin/ovs -report docs/proof/bench.md $(BENCH)

# A Linux kernel client in a guest VM: QEMU without KVM, built here from Debian packages. At most 40 minutes.
system: deps-system build
	$(GO) test -tags system -count=1 -timeout 40m -v ./tests/guest

# kill -9 on the real binary under load; leaves docs/proof/crash.md. A run that was cut off is continued. At full size:
# make proof-crash PROOF="-crash.rounds 100 -crash.writes 200000"
proof-crash: deps build
	$(GO) test -tags proof -count=1 -timeout $(PROOFTIME) -v ./tests/crash $(PROOF)

# Power cuts of a guest VM that runs the binary, with its disk; leaves docs/proof/blackout.md. A run that was cut off is continued.
proof-blackout: deps-system
	$(GO) test -tags proof -count=1 -timeout 120m -v ./tests/blackout $(BLACKOUT)

# An hour under load, and what it leaves; leaves docs/proof/soak.md. Shorter: SOAK="-soak.time 10m".
proof-soak: deps build
	$(GO) test -tags proof -count=1 -timeout 120m -v ./tests/soak $(SOAK)

# From exec to the first answers, after a clean stop and after kill -9 with a full log; leaves docs/proof/start.md. A run that was
# cut off is continued. It takes 20 GiB of disk under TMPDIR and is root's: it mounts.
proof-start: deps build
	$(GO) test -tags proof -count=1 -timeout $(PROOFTIME) -v ./tests/start $(PROOF)

# Power cuts in process, planted mistakes first; leaves docs/proof/powercut.md. A run that was cut off is continued. At full
# size: make proof-powercut PROOF="-powercut.cuts 10000 -powercut.real 2000 -powercut.each 20"
proof-powercut:
	$(GO) test -tags planted -count=1 -run '^TestPlanted' -timeout $(PROOFTIME) -v ./tests/powercut
	$(GO) test -tags proof -count=1 -run '^TestProof$$' -timeout $(PROOFTIME) -v ./tests/powercut -powercut.report docs/proof/powercut.md $(PROOF)

# The tests of what keeps data, with a count of the error paths that they run: fails below 90 % in any package; leaves
# docs/proof/faults.md. A package that was done when a run was cut off is not run again.
proof-faults:
	$(GO) test -tags proof -count=1 -run '^TestProof$$' -timeout $(PROOFTIME) -v ./tests/faults $(PROOF)

# README's commands on a fresh Debian 12; leaves docs/proof/fresh.md.
proof-fresh: deps-system
	./tests/fresh.sh
