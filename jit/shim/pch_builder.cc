// Builds a precompiled header at build time with the libraries that will load it at run time.
//
//   pch_builder FOLDER ARGUMENTS...
//
// ARGUMENTS are cc1's. Files are read from the machine, but for `/kiln/include`, which is FOLDER:
// a precompiled header remembers paths, so they must be those that scripts will see.

#include "shim.h"

#include <cstdio>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <sys/stat.h>

static std::string folder;

static std::string real_path(kshim_bytes path) {
  static const std::string prefix = "/kiln/include";
  std::string name(path.data, path.size);
  return name.rfind(prefix, 0) == 0 ? folder + name.substr(prefix.size()) : name;
}

static int status(void *, kshim_bytes path, uint64_t *size) {
  struct stat entry;
  if (stat(real_path(path).c_str(), &entry) != 0) return 0;
  *size = entry.st_size;
  return S_ISREG(entry.st_mode) ? 1 : S_ISDIR(entry.st_mode) ? 2 : 0;
}

static bool read_file(void *context, kshim_bytes path, kshim_bytes *content) {
  auto &cache = *static_cast<std::map<std::string, std::string> *>(context);
  std::string name = real_path(path);
  auto found = cache.find(name);
  if (found == cache.end()) {
    std::ifstream file(name, std::ios::binary);
    if (!file) return false;
    std::stringstream bytes;
    bytes << file.rdbuf();
    found = cache.emplace(name, bytes.str()).first;
  }
  *content = {found->second.data(), found->second.size()};
  return true;
}

static void report(void *, const kshim_diagnostic *found) {
  std::fwrite(found->rendered.data, 1, found->rendered.size, stderr);
}

static void name(void *, const kshim_name *) {}

int main(int count, char **arguments) {
  if (count < 3) return 2;
  folder = arguments[1];
  std::map<std::string, std::string> cache;
  kshim_files files{&cache, {"/", 1}, status, read_file};
  kshim_diagnostics diagnostics{nullptr, report, name};
  return kshim_precompile(arguments + 2, static_cast<size_t>(count - 2), &files, &diagnostics) ? 0
                                                                                              : 1;
}
