/* octet - makes, looks at, runs and measures the models that octetd serves. This file only finds
 * the subcommand. */
#include <stdio.h>
#include <string.h>

#include "tools/cli.h"

static const struct {
    const char *name, *full, *about;
    int (*run)(int argc, char *const *argv);
} COMMANDS[] = {
    {"quantize", "octet quantize",
     "make an INT8 GGUF file of a GGUF file or a Hugging Face directory", cmd_quantize},
    {"info", "octet info", "what is in a model file", cmd_info},
    {"tokenize", "octet tokenize", "text on stdin to token ids", cmd_tokenize},
    {"generate", "octet generate", "one completion without a server", cmd_generate},
    {"eval", "octet eval", "perplexity of a text, and how far INT8 is from FP32", cmd_eval},
    {"bench", "octet bench", "engine: speed of prefill and decode by batch size", cmd_bench},
};
#define N_COMMANDS (sizeof(COMMANDS) / sizeof(COMMANDS[0]))

static void help(FILE *out)
{
    fputs("usage: octet COMMAND [options]\n\n", out);
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(out, "  %-10s %s\n", COMMANDS[i].name, COMMANDS[i].about);
    fputs("\n  --help     this text; after a command: its options\n"
          "  --version  the version\n\n"
          "Every command takes --json. Exit status: 0 done, 1 failed, 2 wrong usage.\n",
          out);
}

static int unknown(const char *name)
{
    fprintf(stderr, "octet: unknown command \"%.64s\": give one of", name);
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(stderr, "%s %s", i ? "," : "", COMMANDS[i].name);
    fputc('\n', stderr);
    return CLI_USAGE;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        help(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        help(stdout);
        return cli_finish();
    }
    if (strcmp(argv[1], "--version") == 0) {
        flags_version("octet", stdout);
        return cli_finish();
    }
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(argv[1], COMMANDS[i].name) == 0) {
            cli_name(COMMANDS[i].full);
            return COMMANDS[i].run(argc - 1, argv + 1);
        }
    return unknown(argv[1]);
}
