// Do iostreams read standard input, format, write files and report their errors?
// stdin: 12 0x1f 3.5 word\nthe rest of the line\nlast

#include <cstdio>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <locale>
#include <sstream>
#include <string>
#include <unistd.h>

struct Point {
    int x, y;
    friend std::ostream& operator<<(std::ostream& out, const Point& p) {
        return out << '(' << p.x << ',' << p.y << ')';
    }
    friend std::istream& operator>>(std::istream& in, Point& p) {
        char c;
        return in >> c >> p.x >> c >> p.y >> c;
    }
};

class Upper : public std::streambuf {
public:
    explicit Upper(std::streambuf* to) : to(to) {}
    int overflow(int c) override { return to->sputc(static_cast<char>(std::toupper(c))); }

private:
    std::streambuf* to;
};

struct Grouped : std::numpunct<char> {
    char do_thousands_sep() const override { return '.'; }
    std::string do_grouping() const override { return "\3"; }
    char do_decimal_point() const override { return ','; }
};

int main() {
    int number = 0, hex = 0;
    double real = 0;
    std::string word, rest, last;
    std::cin >> number >> std::hex >> hex >> real >> word;
    std::cin.ignore();
    std::getline(std::cin, rest);
    std::getline(std::cin, last);
    std::cout << number << ' ' << hex << ' ' << real << ' ' << word << '|' << rest << '|' << last
              << ' ' << std::cin.eof() << std::endl;

    std::cout << std::setw(8) << std::setfill('*') << std::left << 42 << std::right
              << std::setw(8) << -3.25 << std::hex << std::showbase << 255 << std::oct << 8
              << std::dec << std::boolalpha << true << std::scientific << std::setprecision(3)
              << 12345.678 << std::fixed << 2.5 << std::hexfloat << 1.0 << std::defaultfloat << '\n';
    std::cout << std::quoted("a \"quoted\" text") << Point{1, -2} << '\n';
    std::istringstream text("(3, 4) not-a-point");
    Point point{};
    text >> point;
    std::cout << point << ' ' << text.good();
    text >> point;
    std::cout << ' ' << text.fail() << '\n';
    try {
        text.exceptions(std::ios::failbit);
    } catch (const std::ios_base::failure& error) {
        std::cout << "failure: " << error.what() << '\n';
    }

    Upper upper(std::cout.rdbuf());
    std::ostream shouting(&upper);
    shouting << "shouted " << 1e10 << "\n" << std::flush;
    std::ostringstream grouped;
    grouped.imbue(std::locale(std::locale::classic(), new Grouped));
    grouped << 1234567 << ' ' << 1234.5;
    std::cout << grouped.str() << '\n';
    std::wstringstream wide;
    wide << L"wide " << 12;
    std::cout << wide.str().size() << '\n';

    char path[] = "/tmp/kiln-streams-XXXXXX";
    close(mkstemp(path));
    {
        std::ofstream out(path, std::ios::binary);
        for (int i = 0; i < 1000; ++i) out << i << '\n';
        out.write("\0end", 4);
    }
    std::ifstream in(path);
    long sum = 0;
    for (int i; in >> i;) sum += i;
    in.clear();
    in.seekg(-3, std::ios::end);
    std::string end;
    in >> end;
    std::cout << sum << ' ' << end << ' ' << in.tellg() << '\n';
    std::fstream both(path, std::ios::in | std::ios::out);
    both << "X";
    both.seekg(0);
    std::getline(both, end);
    std::cout << end << ' ' << std::ifstream("/nowhere/at/all").is_open() << '\n';
    unlink(path);
    std::cerr << "to standard error\n";
    std::clog << "and again\n";
    std::printf("mixed with stdio\n");
}
