/* nomem.h - allocations that fail on demand. The linker sends malloc and its kin of the including
 * program here: --wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup in its CMakeLists.txt. */
#ifndef OCTET_TESTS_UNIT_NOMEM_H
#define OCTET_TESTS_UNIT_NOMEM_H

#include <stdbool.h>
#include <stddef.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *text);

/* Set to n: the n-th allocation from now fails; 0 again once it has. */
static int countdown;

static bool fails(void)
{
    return countdown > 0 && --countdown == 0;
}

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return fails() ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

#endif
