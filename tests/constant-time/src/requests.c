/* Valgrind's client requests are macros: one function for each that is used. */
#include <stddef.h>
#include <valgrind/memcheck.h>

unsigned ct_on_valgrind(void) { return RUNNING_ON_VALGRIND; }

void ct_hide(const void *at, size_t len) { VALGRIND_MAKE_MEM_UNDEFINED(at, len); }

void ct_show(const void *at, size_t len) { VALGRIND_MAKE_MEM_DEFINED(at, len); }

/* Whether each byte has an undefined bit. Reading the bits reports nothing. */
int ct_all_hidden(const unsigned char *at, size_t len) {
    unsigned char bits;
    for (size_t i = 0; i < len; i++) {
        if (VALGRIND_GET_VBITS(at + i, &bits, 1) != 1 || bits == 0) {
            return 0;
        }
    }
    return 1;
}
