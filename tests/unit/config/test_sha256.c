/* The examples that NIST publishes for FIPS 180-4, and the seams between blocks. */
#include "config/sha256.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "unit/suite.h"

#define OF_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define OF_MILLION_A "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"

static void equals(const char *text, size_t n, const char *want)
{
    char hex[SHA256_HEX];

    sha256_text(text, n, hex);
    ck_assert_str_eq(hex, want);
}

START_TEST(published_examples)
{
    const char *two_blocks = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";

    equals("abc", 3, OF_ABC);
    equals("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    equals(two_blocks, strlen(two_blocks),
           "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}
END_TEST

START_TEST(million_in_pieces_of_every_size)
{
    char a[200], hex[SHA256_HEX];
    uint8_t digest[SHA256_BYTES];
    struct sha256 sha;
    size_t left = 1000000;

    memset(a, 'a', sizeof(a));
    sha256_init(&sha);
    for (size_t i = 0; left; i++) {
        size_t n = i % (sizeof(a) + 1);
        n = n < left ? n : left;
        sha256_add(&sha, a, n);
        left -= n;
    }
    sha256_end(&sha, digest);
    sha256_hex(digest, hex);
    ck_assert_str_eq(hex, OF_MILLION_A);
}
END_TEST

/* Lengths about the padding's seams, as Python's hashlib gives them: SHA-256 of the digests of n
 * zeros one after another, n = 0 .. 129. */
START_TEST(every_length_about_a_seam)
{
    static const char zeros[130];
    struct sha256 all;
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX];

    sha256_init(&all);
    for (size_t n = 0; n < sizeof(zeros); n++) {
        struct sha256 one;
        sha256_init(&one);
        sha256_add(&one, zeros, n);
        sha256_end(&one, digest);
        sha256_add(&all, digest, sizeof(digest));
    }
    sha256_end(&all, digest);
    sha256_hex(digest, hex);
    ck_assert_str_eq(hex, "d26cf8eafa144521d64bdc66b8314175fd9e78310979a068c8b8b2ea18636450");
}
END_TEST

START_TEST(file)
{
    char path[64], hex[SHA256_HEX] = "before";
    struct error err = {{0}};

    snprintf(path, sizeof(path), "/tmp/octet-sha256-%d", (int)getpid());
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs("abc", f);
    fclose(f);
    ck_assert_int_eq(sha256_file(path, hex, &err), ST_OK);
    ck_assert_str_eq(hex, OF_ABC);
    unlink(path);
    ck_assert_int_eq(sha256_file(path, hex, &err), ST_IO);
    ck_assert_ptr_nonnull(strstr(err.text, path));
    ck_assert_int_eq(sha256_file("/tmp", hex, &err), ST_IO);
    ck_assert_str_eq(hex, OF_ABC);
}
END_TEST

RUN_SUITE("sha256", published_examples, million_in_pieces_of_every_size, every_length_about_a_seam,
          file)
