// Does <filesystem> make, walk, copy and remove, and name what failed?

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

namespace fs = std::filesystem;

static void write(const fs::path& path, const char* text) {
    FILE* file = std::fopen(path.c_str(), "w");
    std::fputs(text, file);
    std::fclose(file);
}

int main() {
    char name[] = "/tmp/kiln-filesystem-XXXXXX";
    fs::path root = mkdtemp(name);
    fs::create_directories(root / "a" / "b" / "c");
    write(root / "a" / "one.txt", "one");
    write(root / "a" / "b" / "two.txt", "twotwo");
    fs::create_symlink("one.txt", root / "a" / "link");
    fs::copy(root / "a", root / "copy", fs::copy_options::recursive | fs::copy_options::copy_symlinks);
    std::vector<std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(root))
        found.push_back(entry.path().lexically_relative(root).string() +
                        (entry.is_symlink() ? "@" : entry.is_directory() ? "/" : ""));
    std::sort(found.begin(), found.end());
    for (auto& path : found) std::puts(path.c_str());
    std::printf("%ju %s\n", fs::file_size(root / "copy/b/two.txt"),
                fs::read_symlink(root / "copy/link").c_str());
    fs::rename(root / "copy", root / "moved");
    fs::resize_file(root / "moved/one.txt", 100);
    std::printf("%ju %d %d\n", fs::file_size(root / "moved/one.txt"), fs::exists(root / "copy"),
                fs::equivalent(root / "a/link", root / "a/one.txt"));
    try {
        fs::file_size("/nowhere/at/all");
    } catch (const fs::filesystem_error& error) {
        std::printf("%s: %s\n", error.path1().c_str(), error.code().message().c_str());
    }
    std::error_code code;
    fs::remove(root / "a", code);
    std::printf("%d\n", code == std::errc::directory_not_empty);
    std::printf("%ju %d\n", fs::remove_all(root), fs::exists(root));
    fs::path path = "/usr/../lib/./x.tar.gz";
    std::printf("%s %s %s %s\n", path.lexically_normal().c_str(), path.stem().c_str(),
                path.extension().c_str(), path.parent_path().c_str());
}
