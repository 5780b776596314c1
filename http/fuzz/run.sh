#!/bin/sh
# Fuzzes each target for SECONDS (or those that are named), and adds what was found to its corpus.
#
#     run.sh SECONDS [TARGET...]
#
# A failure leaves its input in artifacts/TARGET/. Give it to the target's binary to see it again, and
# keep it in corpus/TARGET/, under a name that says what it shows, once it is mended.
set -eu

usage='run.sh SECONDS [TARGET...]'
seconds=${1:?"$usage"}
shift
[ $# -gt 0 ] || set -- request_head response_head chunked_body
cd "$(dirname "$0")/.."

# The compiler's instrumentation for fuzzers stands behind options that only nightly takes without
# this. A sanitizer would find nothing in a crate that forbids unsafe code.
RUSTC_BOOTSTRAP=1 cargo fuzz build --sanitizer none
host=$(rustc -vV | sed -n 's/^host: //p')

hash='????????????????????????????????????????'
files_max=250

cd fuzz
for target; do
    fuzzer=target/$host/release/$target
    corpus=corpus/$target
    found=target/found/$target
    minimised=target/minimised/$target
    echo "$target: fuzzing for $seconds seconds"
    mkdir -p "$found" "artifacts/$target"
    nice "$fuzzer" -max_total_time="$seconds" -max_len=2048 -dict=http.dict -verbosity=0 \
        -print_final_stats=1 -artifact_prefix="artifacts/$target/" "$found" "$corpus"

    # Tests replay a corpus, so it is kept small: those that somebody named, and the fewest of the others,
    # named by their hashes, that reach each branch that any of them reaches. They come in the order of
    # what they add, and the last of very many add little.
    rm -rf "$minimised"
    mkdir -p "$minimised"
    find "$corpus" -type f ! -name "$hash" -exec cp {} "$minimised" \;
    "$fuzzer" -set_cover_merge=1 -use_counters=0 -max_len=512 -verbosity=0 \
        "$minimised" "$corpus" "$found"
    find "$minimised" -type f -name "$hash" -printf '%T@ %p\n' | sort -n |
        tail -n +$((files_max + 1)) | cut -d ' ' -f 2 | xargs -r rm
    rm -rf "$corpus"
    mv "$minimised" "$corpus"
    echo "$target: $(find "$corpus" -type f | wc -l) files in its corpus"
done
