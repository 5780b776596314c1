#include "helpers.h"

Named* make_disc() { return new Disc; }

int fail(int depth) {
    if (depth == 0) throw 5;
    try {
        return fail(depth - 1);
    } catch (int) {
        throw Deep("from below", 7);
    }
}

const std::string* where_motto_is() { return &motto; }
