// Makes of the templates of "usual.h" what Kiln's binary holds of them.
#include "usual.h"

[[gnu::used]] void kiln_usual(const std::string& text, std::string_view view, double real) {
    kiln::usual::all(text, view, real);
}
