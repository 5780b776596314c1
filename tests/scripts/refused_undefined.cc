// Is a function that no script defines named in C++ notation?
// refused: refused_undefined.cc:12:33: error: `shop::price(std::string_view)` is not defined
// refused: refused_undefined.cc:8:5: note: it is declared here

#include <kiln.h>

namespace shop {
int price(std::string_view);
}
kiln::Action on_request(kiln::Request& request) {
    return kiln::reply(200, std::to_string(
                                shop::price(request.path())));
}
