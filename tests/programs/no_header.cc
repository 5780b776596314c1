// Is a header that does not exist named, and is a file outside the program's folder not there?
// refused: no_header.cc:6:10: fatal error: 'private/none.h' file not found

#include <cstdio>
#if !__has_include("/etc/passwd") && !__has_include("../engine/main.rs")
#include "private/none.h"
#else
#error "read a file outside the program's folder"
#endif

int main() {}
