# Scripts of Kiln in GDB, as they were written:
#
#   gdb -x kiln.gdb -p WORKER          a running worker; `kiln status` has its pid
#   gdb -x kiln.gdb kiln CORE          a core file

# A breakpoint waits for the script that it is in, and for that script's next version.
set breakpoint pending on
set print static-members off

python
import glob, sys

# std::string and containers. GDB loads these by itself where libstdc++ is a shared library, and in
# Kiln it is a part of the binary. They come with libstdc++.
sys.path[:0] = glob.glob('/usr/share/gcc*/python')
try:
    from libstdcxx.v6 import register_libstdcxx_printers
    register_libstdcxx_printers(None)
except ImportError:
    print('kiln.gdb: no printers of libstdc++ in /usr/share/gcc*/python: containers stay raw')

class Text:
    """A kiln_str: bytes with a length, and whatever stands behind them in the buffer."""
    def __init__(self, value):
        self.value = value
    def to_string(self):
        return self.value['data'].lazy_string(length=int(self.value['size']))
    def display_hint(self):
        return 'string'

gdb.pretty_printers.append(
    lambda value: Text(value) if value.type.unqualified().strip_typedefs().name == 'kiln_str' else None)
end
