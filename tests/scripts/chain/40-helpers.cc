#include "shared.h"

std::string help() { return "with help"; }
