//! Everything that a fuzzer found interesting, replayed: the properties of `fuzz/src` hold of it.
//!
//! The corpora are part of the source; how they grow is in `fuzz/README.md`.

// A crate of its own there, so that its items are public.
#[allow(unreachable_pub)]
#[path = "../fuzz/src/lib.rs"]
mod properties;

use std::path::Path;

/// Gives each file of a target's corpus to its property.
fn check(target: &str, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("each target has a corpus") {
        let path = entry.expect("a folder that is there can be read").path();
        let data = std::fs::read(&path).expect("a corpus holds files alone");
        println!("{}", path.display());
        property(&data);
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}

#[test]
fn request_heads_of_the_corpus_hold_their_properties() {
    check("request_head", properties::request_head);
}

#[test]
fn response_heads_of_the_corpus_hold_their_properties() {
    check("response_head", properties::response_head);
}

#[test]
fn chunked_bodies_of_the_corpus_hold_their_properties() {
    check("chunked_body", properties::chunked_body);
}
