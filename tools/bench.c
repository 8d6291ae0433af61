/* octet bench - finds the kind of measurement. */
#include <stdio.h>
#include <string.h>

#include "tools/cli.h"

static void help(FILE *out)
{
    fputs("usage: octet bench engine [options]\n\n"
          "  engine     tokens/s of prefill and decode by batch size, no HTTP\n\n"
          "  --help     this text; after engine: its options\n"
          "  --version  the version\n",
          out);
}

int cmd_bench(int argc, char *const *argv)
{
    static const char *const reserved[] = {"load", "compare"};
    const char *kind = argc > 1 ? argv[1] : NULL;

    if (!kind) {
        help(stderr);
        return CLI_USAGE;
    }
    if (strcmp(kind, "--help") == 0 || strcmp(kind, "-h") == 0) {
        help(stdout);
        return cli_finish();
    }
    if (strcmp(kind, "--version") == 0) {
        flags_version("octet bench", stdout);
        return cli_finish();
    }
    if (strcmp(kind, "engine") == 0) {
        cli_name("octet bench engine");
        return cmd_bench_engine(argc - 1, argv + 1);
    }
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
        if (strcmp(kind, reserved[i]) == 0) {
            fprintf(stderr, "octet bench: \"%s\" is not built yet: give engine\n", kind);
            return CLI_USAGE;
        }
    fprintf(stderr, "octet bench: unknown kind \"%.64s\": give engine\n", kind);
    return CLI_USAGE;
}
