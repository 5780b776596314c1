// Is a file stream refused?
// refused: refused_file.cc:9:5: error: a script may not use `

#include <kiln.h>

#include <fstream>

kiln::Action on_request(kiln::Request&) {
    std::ofstream("/tmp/kiln-written-by-a-script") << "text";
    return kiln::reply(200);
}
