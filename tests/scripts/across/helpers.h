#pragma once

#include "types/shape.h"

Named* make_disc();
int fail(int depth);
const std::string* where_motto_is();
