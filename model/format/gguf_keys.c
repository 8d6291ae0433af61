#include <assert.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/format/gguf.h"
#include "model/format/gguf_priv.h"

/* Bytes of a value; 0: a string or an array, whose length is written before it. */
static const struct value_info {
    const char *name;
    uint8_t bytes;
} value_infos[] = {
    [GGUF_V_U8] = {"u8", 1},   [GGUF_V_I8] = {"i8", 1},       [GGUF_V_U16] = {"u16", 2},
    [GGUF_V_I16] = {"i16", 2}, [GGUF_V_U32] = {"u32", 4},     [GGUF_V_I32] = {"i32", 4},
    [GGUF_V_F32] = {"f32", 4}, [GGUF_V_BOOL] = {"bool", 1},   [GGUF_V_STRING] = {"string", 0},
    [GGUF_V_U64] = {"u64", 8}, [GGUF_V_ARRAY] = {"array", 0}, [GGUF_V_I64] = {"i64", 8},
    [GGUF_V_F64] = {"f64", 8},
};
#define N_VALUES (sizeof(value_infos) / sizeof(*value_infos))

const char *gguf_value_name(enum gguf_value type)
{
    return (size_t)type < N_VALUES ? value_infos[type].name : NULL;
}

/* ---- reading ---- */

static int cut(const struct gguf *g, const struct gguf_kv *kv, struct error *err)
{
    return error_set(err, ST_FORMAT, "%s: the file ends inside the value of key '%s'", g->path,
                     gguf_show(kv->name).text);
}

static int read_type(const struct gguf *g, struct cursor *c, const struct gguf_kv *kv,
                     enum gguf_value *ret_type, struct error *err)
{
    uint32_t type;

    if (!cursor_u32(c, &type))
        return cut(g, kv, err);
    if (type >= N_VALUES)
        return error_set(err, ST_FORMAT,
                         "%s: key '%s' has value type %" PRIu32 "; 0 to %zu are possible", g->path,
                         gguf_show(kv->name).text, type, N_VALUES - 1);
    *ret_type = (enum gguf_value)type;
    return ST_OK;
}

static int read_str(const struct gguf *g, struct cursor *c, const struct gguf_kv *kv,
                    struct gguf_str *ret_str, struct error *err)
{
    uint64_t len;
    const uint8_t *bytes;

    if (!cursor_u64(c, &len))
        return cut(g, kv, err);
    if (!cursor_take(c, len, &bytes))
        return error_set(err, ST_FORMAT,
                         "%s: a string of key '%s' claims %" PRIu64
                         " bytes, but the file has only %zu more",
                         g->path, gguf_show(kv->name).text, len, c->left);
    *ret_str = (struct gguf_str){(const char *)bytes, (size_t)len};
    return ST_OK;
}

/* kv->n strings, each with its length before it. */
static int read_strs(const struct gguf *g, struct cursor *c, struct gguf_kv *kv, struct error *err)
{
    int r;

    if (kv->n == 0)
        return ST_OK;
    /* 16 bytes for at least 8 bytes of file each. */
    kv->strs = malloc((size_t)kv->n * sizeof(*kv->strs));
    if (!kv->strs)
        return error_set(err, ST_NOMEM, "%s: no memory for the %" PRIu64 " strings of key '%s'",
                         g->path, kv->n, gguf_show(kv->name).text);
    for (uint64_t i = 0; i < kv->n; i++) {
        if ((r = read_str(g, c, kv, &kv->strs[i], err)))
            return r;
    }
    return ST_OK;
}

/* kv->n numbers in a row. */
static int read_numbers(const struct gguf *g, struct cursor *c, struct gguf_kv *kv,
                        enum gguf_value type, struct error *err)
{
    uint64_t bytes;

    if (!checked_mul(kv->n, value_infos[type].bytes, &bytes) || !cursor_take(c, bytes, &kv->value))
        return cut(g, kv, err);
    for (uint64_t i = 0; type == GGUF_V_BOOL && i < kv->n; i++) {
        if (kv->value[i] > 1)
            return error_set(err, ST_FORMAT,
                             "%s: key '%s' holds the byte %u as a bool; 0 and 1 are possible",
                             g->path, gguf_show(kv->name).text, kv->value[i]);
    }
    return ST_OK;
}

static int read_array(const struct gguf *g, struct cursor *c, struct gguf_kv *kv, struct error *err)
{
    uint64_t each;
    int r = read_type(g, c, kv, &kv->elem, err);

    if (r)
        return r;
    if (kv->elem == GGUF_V_ARRAY)
        return error_set(err, ST_UNSUPPORTED,
                         "%s: key '%s' is an array of arrays, which is not read", g->path,
                         gguf_show(kv->name).text);
    if (!cursor_u64(c, &kv->n))
        return cut(g, kv, err);
    kv->value = c->at;
    each = kv->elem == GGUF_V_STRING ? 8 : value_infos[kv->elem].bytes;
    if (kv->n > c->left / each)
        return error_set(err, ST_FORMAT,
                         "%s: the array of key '%s' claims %" PRIu64
                         " elements, but the file has only %zu more bytes",
                         g->path, gguf_show(kv->name).text, kv->n, c->left);
    if (kv->elem == GGUF_V_STRING)
        return read_strs(g, c, kv, err);
    return read_numbers(g, c, kv, kv->elem, err);
}

static int read_value(const struct gguf *g, struct cursor *c, struct gguf_kv *kv, struct error *err)
{
    struct gguf_str str;
    int r = read_type(g, c, kv, &kv->type, err);

    if (r)
        return r;
    if (kv->type == GGUF_V_ARRAY)
        return read_array(g, c, kv, err);
    kv->n = 1;
    if (kv->type != GGUF_V_STRING)
        return read_numbers(g, c, kv, kv->type, err);
    if ((r = read_str(g, c, kv, &str, err)))
        return r;
    kv->value = (const uint8_t *)str.data;
    kv->str_len = str.len;
    return ST_OK;
}

int gguf_read_keys(struct gguf *g, struct cursor *c, uint64_t n, struct error *err)
{
    int r;

    g->keys = calloc(n ? n : 1, sizeof(*g->keys));
    if (!g->keys)
        return error_set(err, ST_NOMEM, "%s: no memory for %" PRIu64 " keys", g->path, n);
    for (uint64_t i = 0; i < n; i++) {
        struct gguf_kv *kv = &g->keys[i];

        kv->entry = c->at;
        if ((r = gguf_read_name(g, c, "key", i, &kv->name, err)))
            return r;
        g->n_keys++; /* from here on gguf_close frees its strings */
        if ((r = read_value(g, c, kv, err)))
            return r;
        kv->entry_bytes = (size_t)(c->at - kv->entry);
    }
    return gguf_index_make(g, "key", g->keys, g->n_keys, sizeof(*g->keys), &g->key_index, err);
}

/* ---- getters ---- */

struct gguf_str gguf_kv_name(const struct gguf_kv *kv)
{
    return kv->name;
}

enum gguf_value gguf_kv_type(const struct gguf_kv *kv)
{
    return kv->type;
}

/* An integer of any width: its bits, sign-extended, and whether they mean a negative number. */
struct integer {
    bool negative;
    uint64_t bits;
};

/* false: type is not an integer's. */
static bool integer_at(enum gguf_value type, const uint8_t *at, struct integer *ret_integer)
{
    uint64_t bits = 0;
    bool is_signed = false;

    switch (type) {
    case GGUF_V_I8:
    case GGUF_V_I16:
    case GGUF_V_I32:
    case GGUF_V_I64:
        is_signed = true;
        break;
    case GGUF_V_U8:
    case GGUF_V_U16:
    case GGUF_V_U32:
    case GGUF_V_U64:
        break;
    default:
        return false;
    }
    unsigned width = 8u * value_infos[type].bytes;
    memcpy(&bits, at, width / 8);
    ret_integer->negative = is_signed && bits >> (width - 1);
    if (ret_integer->negative && width < 64)
        bits |= UINT64_MAX << width;
    ret_integer->bits = bits;
    return true;
}

/* false: type is not a float's. */
static bool float_at(enum gguf_value type, const uint8_t *at, double *ret_value)
{
    float f;

    if (type == GGUF_V_F32) {
        memcpy(&f, at, sizeof(f));
        *ret_value = (double)f;
        return true;
    }
    if (type == GGUF_V_F64) {
        memcpy(ret_value, at, sizeof(*ret_value));
        return true;
    }
    return false;
}

/* NULL: not there, and err says so. */
static const struct gguf_kv *find_key(const struct gguf *g, const char *key, struct error *err)
{
    const struct gguf_kv *kv = gguf_key(g, key);

    if (!kv)
        error_set(err, ST_NOTFOUND, "%s: key '%s' is missing", g->path, key);
    return kv;
}

/* "key K is …; WANTED is expected" with the value if it is a number, else its type. */
static int expected(const struct gguf *g, const struct gguf_kv *kv, const char *wanted,
                    struct error *err)
{
    char is[64];
    struct integer integer;
    double real;

    if (integer_at(kv->type, kv->value, &integer))
        snprintf(is, sizeof(is), integer.negative ? "%" PRId64 : "%" PRIu64, integer.bits);
    else if (float_at(kv->type, kv->value, &real))
        snprintf(is, sizeof(is), "%s %g", value_infos[kv->type].name, real);
    else if (kv->type == GGUF_V_ARRAY)
        snprintf(is, sizeof(is), "an array of %s", value_infos[kv->elem].name);
    else
        snprintf(is, sizeof(is), "a %s", value_infos[kv->type].name);
    return error_set(err, ST_FORMAT, "%s: key '%s' is %s; %s is expected", g->path,
                     gguf_show(kv->name).text, is, wanted);
}

int gguf_get_u64(const struct gguf *g, const char *key, uint64_t *ret, struct error *err)
{
    const struct gguf_kv *kv = find_key(g, key, err);
    struct integer integer;

    if (!kv)
        return ST_NOTFOUND;
    if (!integer_at(kv->type, kv->value, &integer) || integer.negative)
        return expected(g, kv, "an integer of 0 or more", err);
    *ret = integer.bits;
    return ST_OK;
}

int gguf_get_u32(const struct gguf *g, const char *key, uint32_t *ret, struct error *err)
{
    const struct gguf_kv *kv = find_key(g, key, err);
    struct integer integer;

    if (!kv)
        return ST_NOTFOUND;
    if (!integer_at(kv->type, kv->value, &integer) || integer.negative || integer.bits > UINT32_MAX)
        return expected(g, kv, "an integer from 0 to 4294967295", err);
    *ret = (uint32_t)integer.bits;
    return ST_OK;
}

int gguf_get_i64(const struct gguf *g, const char *key, int64_t *ret, struct error *err)
{
    const struct gguf_kv *kv = find_key(g, key, err);
    struct integer integer;

    if (!kv)
        return ST_NOTFOUND;
    if (!integer_at(kv->type, kv->value, &integer) ||
        (!integer.negative && integer.bits > INT64_MAX))
        return expected(g, kv, "an integer of 63 bits and a sign", err);
    *ret = (int64_t)integer.bits;
    return ST_OK;
}

static int get_float(const struct gguf *g, const char *key, double most, double *ret,
                     struct error *err)
{
    const struct gguf_kv *kv = find_key(g, key, err);
    double value;

    if (!kv)
        return ST_NOTFOUND;
    if (!float_at(kv->type, kv->value, &value) || !(fabs(value) <= most))
        return expected(g, kv, "a finite float", err);
    *ret = value;
    return ST_OK;
}

int gguf_get_f32(const struct gguf *g, const char *key, float *ret, struct error *err)
{
    double value = 0;
    int r = get_float(g, key, (double)FLT_MAX, &value, err);

    if (r == ST_OK)
        *ret = (float)value;
    return r;
}

int gguf_get_f64(const struct gguf *g, const char *key, double *ret, struct error *err)
{
    return get_float(g, key, DBL_MAX, ret, err);
}

int gguf_get_bool(const struct gguf *g, const char *key, bool *ret, struct error *err)
{
    const struct gguf_kv *kv = find_key(g, key, err);

    if (!kv)
        return ST_NOTFOUND;
    if (kv->type != GGUF_V_BOOL)
        return expected(g, kv, "a bool", err);
    *ret = kv->value[0];
    return ST_OK;
}

int gguf_get_str(const struct gguf *g, const char *key, struct gguf_str *ret, struct error *err)
{
    const struct gguf_kv *kv = find_key(g, key, err);

    if (!kv)
        return ST_NOTFOUND;
    if (kv->type != GGUF_V_STRING)
        return expected(g, kv, "a string", err);
    *ret = (struct gguf_str){(const char *)kv->value, kv->str_len};
    return ST_OK;
}

int gguf_get_array(const struct gguf *g, const char *key, struct gguf_array *ret, struct error *err)
{
    const struct gguf_kv *kv = find_key(g, key, err);

    if (!kv)
        return ST_NOTFOUND;
    if (kv->type != GGUF_V_ARRAY)
        return expected(g, kv, "an array", err);
    *ret = (struct gguf_array){.elem = kv->elem, .n = kv->n, .data = kv->value, .strs = kv->strs};
    return ST_OK;
}

/* ---- arrays ---- */

enum kind { KIND_OTHER, KIND_INTEGER, KIND_FLOAT, KIND_STRING };

static enum kind kind_of(enum gguf_value type)
{
    switch (type) {
    case GGUF_V_STRING:
        return KIND_STRING;
    case GGUF_V_F32:
    case GGUF_V_F64:
        return KIND_FLOAT;
    case GGUF_V_BOOL:
    case GGUF_V_ARRAY:
        return KIND_OTHER;
    default:
        return KIND_INTEGER;
    }
}

static int get_kind(const struct gguf *g, const char *key, enum kind kind, struct gguf_array *ret,
                    struct error *err)
{
    static const char *const wanted[] = {"", "an array of integers", "an array of floats",
                                         "an array of strings"};
    const struct gguf_kv *kv = find_key(g, key, err);

    if (!kv)
        return ST_NOTFOUND;
    if (kv->type != GGUF_V_ARRAY || (kv->n && kind_of(kv->elem) != kind))
        return expected(g, kv, wanted[kind], err);
    return gguf_get_array(g, key, ret, err);
}

int gguf_get_ints(const struct gguf *g, const char *key, struct gguf_array *ret, struct error *err)
{
    return get_kind(g, key, KIND_INTEGER, ret, err);
}

int gguf_get_floats(const struct gguf *g, const char *key, struct gguf_array *ret,
                    struct error *err)
{
    return get_kind(g, key, KIND_FLOAT, ret, err);
}

int gguf_get_strs(const struct gguf *g, const char *key, struct gguf_array *ret, struct error *err)
{
    return get_kind(g, key, KIND_STRING, ret, err);
}

static const uint8_t *element(const struct gguf_array *a, uint64_t i)
{
    assert(i < a->n);
    return (const uint8_t *)a->data + i * value_infos[a->elem].bytes;
}

int32_t gguf_array_i32(const struct gguf_array *a, uint64_t i)
{
    struct integer integer;
    bool is_integer = integer_at(a->elem, element(a, i), &integer);

    assert(is_integer);
    if (integer.negative)
        return (int64_t)integer.bits < INT32_MIN ? INT32_MIN : (int32_t)(int64_t)integer.bits;
    return integer.bits > INT32_MAX ? INT32_MAX : (int32_t)integer.bits;
}

float gguf_array_f32(const struct gguf_array *a, uint64_t i)
{
    double value;
    bool is_float = float_at(a->elem, element(a, i), &value);

    assert(is_float);
    return (float)value;
}
