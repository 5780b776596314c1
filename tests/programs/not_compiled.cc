// Is a program that does not compile refused with Clang's own words, line and caret?
// refused: not_compiled.cc:13:11: error: no viable conversion from 'Left' to 'Right'
// refused:    13 |     Right right = Left{};
// refused:       |           ^       ~~~~~~
// refused: note: candidate constructor (the implicit copy constructor) not viable
// refused: not_compiled.cc:14:12: error: use of undeclared identifier 'undeclared'

struct Left {};
struct Right {};
int main() {

    // The diagnostics name lines of this file.
    Right right = Left{};
    return undeclared;
}
