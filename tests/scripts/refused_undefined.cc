// Is a function that no script defines named in C++ notation?
// refused: refused_undefined.cc:11:33: error: a script may not use `shop::price(std::basic_string_view<char, std::char_traits<char> >)` in a worker

#include <kiln.h>

namespace shop {
int price(std::string_view);
}
kiln::Action on_request(kiln::Request& request) {
    return kiln::reply(200, std::to_string(
                                shop::price(request.path())));
}
