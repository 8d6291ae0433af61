/* schema_dump.c - the tables of api/ as JSON on stdout, for test_openapi.py. */
#include <stdio.h>

#include "api/error.h"
#include "api/render.h"
#include "api/schema.h"
#include "config/limits.h"

static const char *type_word(enum field_type type)
{
    static const char *const words[] = {
        [FIELD_BOOL] = "boolean",  [FIELD_INT] = "integer",   [FIELD_SEED] = "integer",
        [FIELD_NUMBER] = "number", [FIELD_STRING] = "string", [FIELD_PROMPT] = "prompt",
        [FIELD_STOP] = "stop"};

    return words[type];
}

static void print_field(const struct field *f, const char *before)
{
    printf("%s{\"name\":\"%s\",\"type\":\"%s\",\"required\":%s", before, f->name,
           type_word(f->type), f->required ? "true" : "false");
    if (f->type == FIELD_INT || f->type == FIELD_SEED)
        printf(",\"minimum\":%lld,\"maximum\":%lld", (long long)f->imin, (long long)f->imax);
    if (f->type == FIELD_NUMBER)
        printf(",\"%s\":%g,\"maximum\":%g", f->min_open ? "exclusiveMinimum" : "minimum", f->min,
               f->max);
    if (f->has_preset && f->type == FIELD_BOOL)
        printf(",\"default\":%s", f->preset != 0 ? "true" : "false");
    else if (f->has_preset)
        printf(",\"default\":%g", f->preset);
    printf("}");
}

int main(void)
{
    size_t n;
    const struct field *fields = schema_generate(&n);

    printf("{\"fields\":[");
    for (size_t i = 0; i < n; i++)
        print_field(&fields[i], i ? "," : "");
    printf("],\"codes\":[");
    for (int code = 0; code < API_N_CODES; code++)
        printf("%s{\"code\":\"%s\",\"type\":\"%s\",\"status\":%d}", code ? "," : "",
               api_code_name((enum api_code)code), api_code_type((enum api_code)code),
               api_code_status((enum api_code)code));
    printf("],\"finish_reasons\":[");
    for (int finish = FINISH_STOP; finish <= FINISH_DEADLINE; finish++)
        printf("%s\"%s\"", finish ? "," : "", finish_reason_name((enum finish_reason)finish));
    printf("],\"stop_strings\":%u,\"stop_bytes\":%u,\"error_content_type\":\"%s\"",
           LIMIT_STOP_STRINGS, LIMIT_STOP_BYTES, API_ERROR_CONTENT_TYPE);
    printf("}\n");
    return 0;
}
