#include "model/quant/spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/kernels/kernels.h"

const struct quant_choice QUANT_INT8 = {.bits = 8, .group = 64, .block = 64};
const struct quant_choice QUANT_Q8_0 = {.bits = 8, .group = 32};

static const struct quant_choice int4 = {.bits = 4, .group = 32, .block = 64};
static const struct quant_choice fast = {.bits = 8, .group = QUANT_ROW, .block = 64};
static const struct quant_choice f16 = {.bits = 16}, f32 = {.bits = 32};

/* A scheme's name: its body, and its head where that is another. */
static const struct {
    const char *name;
    const struct quant_choice *body, *head;
} bases[] = {{"int8", &QUANT_INT8, &QUANT_INT8},
             {"q8_0", &QUANT_Q8_0, &QUANT_Q8_0},
             {"int4", &int4, &QUANT_INT8},
             {"fast", &fast, &fast},
             {"f16", &f16, &f16},
             {"f32", &f32, &f32}};

static bool word_is(const char *text, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(text, word, len) == 0;
}

/* One of 0 (if allowed), 32, 64, 128, 256 after a letter. */
static bool number(const char *text, size_t len, uint32_t least, uint32_t most, uint32_t *ret)
{
    char digits[4] = "";

    if (len < 2 || len > 4)
        return false;
    memcpy(digits, text + 1, len - 1);
    for (uint32_t n = 32; n <= 256; n *= 2) {
        char s[4];
        snprintf(s, sizeof(s), "%u", n);
        if (n <= most && strcmp(s, digits) == 0) {
            *ret = n;
            return true;
        }
    }
    *ret = 0;
    return least == 0 && strcmp(digits, "0") == 0;
}

static bool change(struct quant_choice *c, const char *text, size_t len)
{
    if (text[0] == 'h')
        return number(text, len, 0, 64, &c->block);
    if (text[0] == 'g') {
        c->tensor = false;
        return number(text, len, 32, 256, &c->group);
    }
    if (word_is(text, len, "affine"))
        return c->zero = true;
    if (word_is(text, len, "actaffine"))
        return c->act_zero = true;
    if (word_is(text, len, "row") || word_is(text, len, "tensor")) {
        c->group = QUANT_ROW;
        c->tensor = text[0] == 't';
        return true;
    }
    if (word_is(text, len, "token")) {
        c->act_group = QUANT_ROW;
        c->act_static = QUANT_DYNAMIC;
        return true;
    }
    if (word_is(text, len, "static") || word_is(text, len, "channel")) {
        c->act_static = text[0] == 's' ? QUANT_STATIC : QUANT_CHANNEL;
        return true;
    }
    if (text[0] == 'a') {
        c->act_static = QUANT_DYNAMIC;
        return number(text, len, 32, 256, &c->act_group);
    }
    c->scale_f32 = word_is(text, len, "f32");
    return c->scale_f32 || word_is(text, len, "f16");
}

static int bad_word(const char *text, size_t len, struct error *err)
{
    return error_set(
        err, ST_INVALID,
        "scheme: \"%.*s\" is not known; f16, f32, int8, int4, fast and q8_0 are, the last four "
        "followed by -g32 .. -g256, -row or -tensor, -h64, -h32 or -h0, -a32 .. -a256, -token, "
        "-static or -channel, -f16 or -f32, -affine, -actaffine; then +head: and +embed:",
        (int)(len < 40 ? len : 40), text);
}

/* Words up to a '+' or the end. ret_head: what a scheme's name says of the head. */
static int parse_choice(const char **text, struct quant_choice *ret, struct quant_choice *ret_head,
                        struct error *err)
{
    const char *at = *text;
    size_t len = strcspn(at, "-+"), i = 0;

    while (i < sizeof(bases) / sizeof(bases[0]) && !word_is(at, len, bases[i].name))
        i++;
    if (i == sizeof(bases) / sizeof(bases[0]))
        return bad_word(at, len, err);
    *ret = *bases[i].body;
    for (at += len; *at == '-'; at += len) {
        len = strcspn(++at, "-+");
        if (ret->bits > 8 || !change(ret, at, len))
            return bad_word(at, len, err);
    }
    if (ret->act_group == ret->group || ret->act_static)
        ret->act_group = 0;
    if (ret->bits == 4 && ret->group == QUANT_ROW)
        return error_set(err, ST_INVALID,
                         "scheme: 4 bits go with groups of up to %u, not with whole rows",
                         NIBBLE_GROUP_MAX);
    *ret_head = bases[i].head == bases[i].body ? *ret : *bases[i].head;
    *text = at;
    return ST_OK;
}

int quant_scheme_parse(const char *text, struct quant_scheme *ret_scheme, struct error *err)
{
    const char *at = text ? text : "int8";
    struct quant_scheme s = {0};
    struct quant_choice same;
    bool embed = false;
    int r = parse_choice(&at, &s.body, &s.head, err);

    while (r == ST_OK && *at == '+') {
        bool head = strncmp(at, "+head:", 6) == 0;
        if (!head && strncmp(at, "+embed:", 7) != 0)
            return bad_word(at, strlen(at), err);
        embed |= !head;
        at += head ? 6 : 7;
        r = parse_choice(&at, head ? &s.head : &s.embed, &same, err);
    }
    if (r != ST_OK)
        return r;
    if (!embed)
        s.embed = s.head;
    *ret_scheme = s;
    return ST_OK;
}

int quant_choice_parse(const char *text, struct quant_choice *ret_choice, struct error *err)
{
    struct quant_choice c, head;
    int r = parse_choice(&text, &c, &head, err);

    if (r == ST_OK && *text)
        return bad_word(text, strlen(text), err);
    if (r == ST_OK)
        *ret_choice = c;
    return r;
}

bool quant_choice_same(const struct quant_choice *a, const struct quant_choice *b)
{
    return a->bits == b->bits && a->group == b->group && a->block == b->block &&
           a->act_group == b->act_group && a->scale_f32 == b->scale_f32 && a->zero == b->zero &&
           a->act_zero == b->act_zero && a->act_static == b->act_static && a->tensor == b->tensor;
}

static void put_choice(FILE *f, const struct quant_choice *c)
{
    if (c->bits > 8) {
        fprintf(f, "f%u", c->bits);
        return;
    }
    fprintf(f, "int%u-h%u", c->bits, c->block);
    if (c->group == QUANT_ROW)
        fputs(c->tensor ? "-tensor" : "-row", f);
    else
        fprintf(f, "-g%u", c->group);
    if (c->act_static)
        fputs(c->act_static == QUANT_STATIC ? "-static" : "-channel", f);
    else if (c->act_group == QUANT_ROW)
        fputs("-token", f);
    else if (c->act_group)
        fprintf(f, "-a%u", c->act_group);
    fputs(c->scale_f32 ? "-f32" : "", f);
    fputs(c->zero ? "-affine" : "", f);
    fputs(c->act_zero ? "-actaffine" : "", f);
}

const char *quant_choice_label(const struct quant_choice *choice, char *buf, size_t len)
{
    FILE *f = fmemopen(buf, len, "w");

    buf[0] = '\0';
    if (f) {
        put_choice(f, choice);
        fclose(f);
    }
    return buf;
}

const char *quant_scheme_label(const struct quant_scheme *scheme, char *buf, size_t len)
{
    FILE *f;

    snprintf(buf, len, "q8_0");
    if (quant_scheme_is_q8_0(scheme) || !(f = fmemopen(buf, len, "w")))
        return buf;
    put_choice(f, &scheme->body);
    if (!quant_choice_same(&scheme->head, &scheme->body)) {
        fputs("+head:", f);
        put_choice(f, &scheme->head);
    }
    if (!quant_choice_same(&scheme->embed, &scheme->head)) {
        fputs("+embed:", f);
        put_choice(f, &scheme->embed);
    }
    fclose(f);
    return buf;
}

bool quant_scheme_is_q8_0(const struct quant_scheme *scheme)
{
    return quant_choice_same(&scheme->body, &QUANT_Q8_0) &&
           quant_choice_same(&scheme->head, &QUANT_Q8_0) &&
           quant_choice_same(&scheme->embed, &QUANT_Q8_0);
}

const struct quant_choice *quant_scheme_choice(const struct quant_scheme *scheme, const char *name,
                                               bool tied)
{
    if (strcmp(name, "output.weight") == 0)
        return &scheme->head;
    if (strcmp(name, "token_embd.weight") == 0)
        return tied ? &scheme->head : &scheme->embed;
    return &scheme->body;
}

static uint32_t min_of(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* The largest multiple of 32 up to `most` that divides k, or 0. */
static uint32_t divisor(size_t k, uint32_t most)
{
    uint32_t n = most / 32 * 32;

    while (n && k % n)
        n -= 32;
    return n;
}

static uint32_t group_for(const struct quant_choice *c, size_t k)
{
    const uint32_t most = c->bits == 4             ? NIBBLE_GROUP_MAX
                          : c->zero && c->act_zero ? GROUP_MAX / 2
                                                   : GROUP_MAX;
    const size_t row = (k + 31) / 32 * 32;
    uint32_t n = min_of(c->group, most);

    if (row <= n && (c->group == QUANT_ROW || k == row))
        return (uint32_t)row;
    uint32_t d = divisor(k, n);
    if (2 * d >= n)
        return d;
    while (n > 32 && 8 * ((k + n - 1) / n * n - k) > k)
        n = n / 64 * 32;
    return n;
}

struct quant_spec quant_spec_for(const struct quant_choice *choice, enum quant_role role, size_t k,
                                 uint32_t head_block)
{
    struct quant_spec s = {.bits = choice->bits,
                           .block_in = choice->block,
                           .scale_f32 = choice->scale_f32,
                           .zero = choice->zero,
                           .act_zero = choice->act_zero,
                           .act_static = choice->act_static};

    if (!quant_is_ints(&s))
        return s;
    s.group = group_for(choice, k);
    while (s.block_in && k % s.block_in)
        s.block_in = s.block_in == 64 ? 32 : 0;
    if (role == QUANT_O)
        s.block_in = min_of(choice->block, head_block);
    if (role == QUANT_V)
        s.block_out = min_of(choice->block, head_block);
    if (choice->act_group) {
        size_t kp = quant_padded(&s, k);
        s.act_group = kp <= min_of(choice->act_group, GROUP_MAX) ? (uint32_t)kp
                                                                 : divisor(kp, choice->act_group);
        if (s.act_group == s.group)
            s.act_group = 0;
    }
    return s;
}

void quant_spec_differs(const struct quant_choice *choice, const struct quant_spec *spec, size_t k,
                        char *buf, size_t len)
{
    const size_t kp = quant_padded(spec, k);
    int n = 0;

    buf[0] = '\0';
    if (!quant_is_ints(spec))
        return;
    if (choice->group != QUANT_ROW && spec->group != choice->group)
        n = snprintf(buf, len, "groups of %u for %u", spec->group, choice->group);
    if (n >= 0 && (size_t)n < len && kp != k)
        n += snprintf(buf + n, len - (size_t)n, "%spadded to %zu", n ? ", " : "", kp);
    if (n >= 0 && (size_t)n < len && spec->block_in != choice->block)
        snprintf(buf + n, len - (size_t)n, "%sHadamard blocks of %u for %u", n ? ", " : "",
                 spec->block_in, choice->block);
}

static bool is_block(uint32_t block)
{
    return block <= 64 && (block & (block - 1)) == 0;
}

static bool is_group(uint32_t group, uint32_t most)
{
    return group && group % 32 == 0 && group <= most;
}

bool quant_is_ints(const struct quant_spec *spec)
{
    return spec->bits == 8 || spec->bits == 4;
}

bool quant_spec_is_built(const struct quant_spec *spec)
{
    uint32_t most = spec->bits == 4 ? NIBBLE_GROUP_MAX : GROUP_MAX;

    if (spec->zero && spec->act_zero)
        most = min_of(most, GROUP_MAX / 2);
    return quant_is_ints(spec) && is_group(spec->group, most) &&
           (!spec->act_group || is_group(spec->act_group, GROUP_MAX)) && is_block(spec->block_in) &&
           is_block(spec->block_out) && spec->scale_f32 <= 1 && spec->zero <= 1 &&
           spec->act_zero <= 1 && spec->act_static <= QUANT_CHANNEL;
}

size_t quant_padded(const struct quant_spec *spec, size_t k)
{
    return spec->group ? (k + spec->group - 1) / spec->group * spec->group : k;
}

uint32_t quant_act_group(const struct quant_spec *spec)
{
    return spec->act_group ? spec->act_group : spec->group;
}

uint64_t quant_stored_bytes(const struct quant_spec *spec, size_t n, size_t k)
{
    const uint64_t kp = quant_padded(spec, k);

    if (!quant_is_ints(spec))
        return n * kp * spec->bits / 8;
    return n * (kp * spec->bits / 8 + kp / spec->group * ((spec->scale_f32 ? 4 : 2) + spec->zero));
}

void quant_put_nibbles(const int8_t *q, size_t n, uint8_t *bytes)
{
    for (size_t i = 0; i < n; i += 2)
        bytes[i / 2] = (uint8_t)((q[i] + 8) | (unsigned)(q[i + 1] + 8) << 4);
}
