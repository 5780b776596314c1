# Kiln: `make run` to try it, `make test` to check it. Both install what is missing (Debian 12).

BUILD_PACKAGES = g++ llvm-19-dev libclang-19-dev libclang-common-19-dev libpolly-19-dev libzstd-dev \
	zlib1g-dev libxml2-dev libffi-dev libz3-dev
TEST_PACKAGES = clang-19 nginx-light apache2-bin haproxy nodejs wrk gdb linux-perf curl binutils \
	strace iproute2 nftables apache2-utils nghttp2-client chromium
# Programs that nobody here wrote; a few of the smallest package's are among the tests.
SAMPLE_PACKAGES = cppreference-doc-en-html
SUITE_PACKAGES = $(SAMPLE_PACKAGES) gcc-12-source libboost1.74-doc libboost1.74-dev nlohmann-json3-dev
KILN = target/release/kiln
# Crates that neither link LLVM nor run a built $(KILN).
LEAN = --workspace --exclude kiln --exclude jit --exclude tools --exclude tests
CPUS := $(shell nproc)

.PHONY: help build dist run test quick suite chaos bench fmt packages-build packages-test \
	compile compile-kiln compile-tests

help:
	@echo 'make run      install what is missing, build, and serve the example scripts'
	@echo 'make test     install what is missing, and run every check and test'
	@echo 'make quick    every lint, and the tests of crates without LLVM: a minute or two after a change'
	@echo 'make suite    compile hundreds of programs of Debian packages, and compare with clang++'
	@echo 'make chaos    ten minutes of reloads, faults, kills and stops under load'
	@echo 'make bench    compare with nginx and HAProxy on this machine'
	@echo 'make build    build $(KILN)'
	@echo 'make dist     build target/dist/kiln, which is smaller and takes longer to build'

build: packages-build
	cargo build --release --locked

dist: packages-build
	cargo build --profile dist --locked

run: build
	$(KILN) demo

test: packages-build packages-test
	cargo fmt --all --check
	+$(MAKE) --jobs=$(CPUS) compile
	cargo test --locked $(LEAN)
	cargo test --locked -p tests

quick: packages-build
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo test --locked $(LEAN)

# All that `make test` compiles, in two chains that wait for no lock of each other's: the tests are
# compiled while one CPU waits for jit's build script. Both share as many jobs as there are CPUs.
compile: compile-kiln compile-tests

compile-kiln:
	+cargo build --release --locked

compile-tests:
	+cargo test --locked --no-run $(LEAN)
	+cargo test --locked --no-run -p tests
	+cargo clippy --locked --workspace --all-targets -- -D warnings

suite: build packages-test
	@tools/packages.sh $(SUITE_PACKAGES)
	cargo run --locked -p tests --bin suite

chaos: build packages-test
	cargo run --locked -p tests --bin chaos

bench: build packages-test
	cargo run --release --locked -p bench

fmt:
	cargo fmt --all

packages-build:
	@tools/packages.sh $(BUILD_PACKAGES)

packages-test:
	@tools/packages.sh $(TEST_PACKAGES) $(SAMPLE_PACKAGES)
