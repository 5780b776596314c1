//! Black-box tests of `kiln serve`, `kiln reload` and `kiln status`: real processes, real sockets.

mod request;
