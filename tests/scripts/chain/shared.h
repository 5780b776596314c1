#pragma once

#include <string>

std::string help();
