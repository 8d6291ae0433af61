/* alphabet.h - the 256 characters by which byte-level vocabularies write bytes (GPT-2's table).
 *
 * Printable bytes stand for themselves, the other 68 for U+0100 … U+0143 in ascending order.
 *
 * Owner:   pure functions, any thread.
 * Memory:  nothing is allocated.
 * Errors:  false: the name holds a character outside the alphabet.
 * Threads: no shared state. */
#ifndef OCTET_MODEL_TEXT_ALPHABET_H
#define OCTET_MODEL_TEXT_ALPHABET_H

#include <stdbool.h>
#include <stddef.h>

/* len bytes → their characters in UTF-8, at most 2 * len bytes. Returns how many. */
size_t alphabet_write(const char *bytes, size_t len, char *ret_name);
/* A name → the bytes it stands for, at most len. ret_bytes may be written also on false. */
bool alphabet_read(const char *name, size_t len, char *ret_bytes, size_t *ret_len);

#endif
