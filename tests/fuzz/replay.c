/* replay.c - a main() for builds without libFuzzer: run the target once on every file of every
 * folder in argv.
 *
 * Fails when a path can't be read and when nothing was run, so that an emptied corpus is noticed.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int complain(const char *path)
{
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    return -1;
}

static int run_file(const char *path, size_t size)
{
    /* An exact allocation: the sanitizer then sees one byte too far. */
    uint8_t *data = malloc(size ? size : 1);
    FILE *file = fopen(path, "rb");
    int status = 0;

    if (!data || !file || fread(data, 1, size, file) != size)
        status = complain(path);
    else
        LLVMFuzzerTestOneInput(data, size);
    if (file)
        fclose(file);
    free(data);
    return status;
}

static int run_path(const char *path, size_t *n_run);

static int run_folder(const char *path, size_t *n_run)
{
    struct dirent **entries;
    int n = scandir(path, &entries, NULL, alphasort);
    int status = n < 0 ? complain(path) : 0;

    for (int i = 0; i < n; i++) {
        char child[4096];
        int len = snprintf(child, sizeof(child), "%s/%s", path, entries[i]->d_name);

        if (entries[i]->d_name[0] != '.' && (len >= (int)sizeof(child) || run_path(child, n_run)))
            status = -1;
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    return status;
}

static int run_path(const char *path, size_t *n_run)
{
    struct stat st;

    if (stat(path, &st))
        return complain(path);
    if (S_ISDIR(st.st_mode))
        return run_folder(path, n_run);
    ++*n_run;
    return run_file(path, (size_t)st.st_size);
}

int main(int argc, char **argv)
{
    size_t n_run = 0;
    int status = 0;

    for (int i = 1; i < argc; i++)
        status |= run_path(argv[i], &n_run);
    printf("%zu inputs replayed\n", n_run);
    return status || n_run == 0;
}
