/* report_page FILES: a report's JSON document on stdin → the report's files; for tests/cli/test_report.py,
 * which puts into it what no model would. */
#include "tools/report.h"

int main(int argc, char **argv)
{
    json_t *document = json_loadf(stdin, 0, NULL);
    struct error err = {{0}};
    int r;

    if (argc != 2 || !document)
        return 2;
    r = report_write(document, argv[1], &err);
    fputs(err.text, stderr);
    json_decref(document);
    return r == ST_OK ? 0 : 1;
}
