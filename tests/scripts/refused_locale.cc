// Is what would outlive the generation or open files refused: the process's locale, and locales by name?
// refused: refused_locale.cc:9:5: error: a script may not use `std::locale::global` in a worker
// refused: refused_locale.cc:10:17: error: a script may not use `std::locale::locale` in a worker

#include <kiln.h>
#include <locale>

kiln::Action on_request(kiln::Request&) {
    std::locale::global(std::locale::classic());
    std::locale named("de_DE.UTF-8");
    return kiln::reply(200, named.name());
}
