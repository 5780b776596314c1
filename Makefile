# Kiln: `make run` to try it, `make test` to check it. Both install what is missing (Debian 12).

BUILD_PACKAGES = g++ llvm-19-dev libclang-19-dev libclang-common-19-dev libpolly-19-dev libzstd-dev \
	zlib1g-dev libxml2-dev libffi-dev libz3-dev
TEST_PACKAGES = clang-19 nginx-light apache2-bin haproxy nodejs wrk gdb linux-perf curl binutils \
	strace iproute2 nftables apache2-utils nghttp2-client chromium
# Programs that nobody here wrote; a few of the smallest package's are among the tests.
SAMPLE_PACKAGES = cppreference-doc-en-html
SUITE_PACKAGES = $(SAMPLE_PACKAGES) gcc-12-source libboost1.74-doc libboost1.74-dev nlohmann-json3-dev
KILN = target/release/kiln
# Crates that do not link LLVM: their tests build in seconds.
LEAN = -p admin -p bench -p cache -p fence -p heritage -p hook -p http -p image -p master -p settings -p worker

.PHONY: help build run test suite chaos bench fmt packages-build packages-test

help:
	@echo 'make run      install what is missing, build, and serve the example scripts'
	@echo 'make test     install what is missing, and run every check and test'
	@echo 'make suite    compile hundreds of programs of Debian packages, and compare with clang++'
	@echo 'make chaos    ten minutes of reloads, faults, kills and stops under load'
	@echo 'make bench    compare with nginx and HAProxy on this machine'
	@echo 'make build    build $(KILN)'

build: packages-build
	cargo build --release --locked

run: build
	$(KILN) demo

test: build packages-test
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --release --locked -- -D warnings
	cargo test --release --locked $(LEAN)
	cargo test --release --locked -p tests

suite: build packages-test
	@tools/packages.sh $(SUITE_PACKAGES)
	cargo run --release --locked -p tests --bin suite

chaos: build packages-test
	cargo run --release --locked -p tests --bin chaos

bench: build packages-test
	cargo run --release --locked -p bench

fmt:
	cargo fmt --all

packages-build:
	@tools/packages.sh $(BUILD_PACKAGES)

packages-test:
	@tools/packages.sh $(TEST_PACKAGES) $(SAMPLE_PACKAGES)
