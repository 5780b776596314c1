//! A machine without compilers and headers, of one test's own.

use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, unshare};

/// Hides what compiles, assembles and links, every header, and the libraries that only a build needs.
/// What is hidden is empty: a folder an empty one, a file an empty one that can't be run.
const HIDE: &str = r"
set -eu
mount --make-rprivate /
for folder in /usr/include /usr/local/include /usr/lib/gcc /usr/lib/llvm-* /usr/lib/clang* \
              /usr/libexec/gcc /usr/lib/x86_64-linux-gnu/libLLVM* /usr/lib/x86_64-linux-gnu/libclang*; do
    [ ! -d $folder ] || mount -t tmpfs none $folder
done
libraries=/usr/lib/x86_64-linux-gnu
for file in $libraries/*.a $libraries/*.o $libraries/libstdc++* $libraries/libLLVM* $libraries/libclang* \
            /usr/bin/*clang* /usr/bin/*gcc* /usr/bin/*g++* /usr/bin/*c++* /usr/bin/cc /usr/bin/cpp* \
            /usr/bin/*-cpp* /usr/bin/*ld /usr/bin/*ld.bfd /usr/bin/*ld.gold /usr/bin/*lld* /usr/bin/*-as /usr/bin/as /usr/bin/*llvm*; do
    [ ! -f $file ] || mount --bind /dev/null $file
done
[ -z $(ls -A /usr/include) ]
";

/// A mount namespace in which nothing is left of a toolchain. It ends with the last process and thread
/// in it.
pub struct BareMachine(());

impl BareMachine {
    /// Runs a test on such a machine. Whatever it starts is there too.
    #[track_caller]
    pub fn with(test: impl FnOnce() + Send + 'static) {
        let thread = thread::Builder::new().name("bare".to_owned());
        let running = thread.spawn(move || {
            // It concerns this thread and what comes of it; the other tests keep their compilers.
            unshare(CloneFlags::CLONE_NEWNS).expect("hiding files needs root");
            let hidden = Command::new("sh").args(["-c", HIDE]).status();
            assert!(hidden.expect("there is a shell").success(), "something cannot be hidden");
            for compiler in ["clang++-19", "g++", "cc", "ld", "as"] {
                let run = Command::new(compiler).arg("--version").output();
                assert!(run.is_err(), "{compiler} is still there");
            }
            test();
        });
        if let Err(panic) = running.expect("a thread").join() {
            std::panic::resume_unwind(panic);
        }
    }
}
