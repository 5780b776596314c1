// Is assembly refused that brings a file of the machine into the image?
// refused: refused_incbin.cc:6: error: assembly may not read a file: `.incbin` of '/etc/passwd'

#include <kiln.h>

asm(".section .rodata\n.globl stolen\nstolen:\n.incbin \"/etc/passwd\"\n.text");
extern "C" const char stolen[];

kiln::Action on_request(kiln::Request&) { return kiln::reply(200, stolen); }
