// Is a function that nobody defines named, with the line that calls it?
// refused: not_defined.cc:16:17: error: `nowhere::to_be_found(int, const char *)` is not defined
// refused: not_defined.cc:7:5: note: it is declared here
// refused: not_defined.cc:17:20: error: `missing_variable` is not defined

namespace nowhere {
int to_be_found(int, const char*);
}
extern int missing_variable;

static int unused() { return missing_variable; }

int main(int count, char**) {
    (void)unused;
    // Only what is used matters.
    int found = nowhere::to_be_found(count, "text");
    return found + missing_variable;
}
