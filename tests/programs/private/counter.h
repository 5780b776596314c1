// A private header of shape.h, which names it relative to itself.
#pragma once

struct Counter {
    const char* name;
    int value = 0;
    void add() { ++value; }
};
