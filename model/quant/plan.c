#include "model/quant/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/limits.h"
#include "model/format/plan_json.h"

enum { PATTERN_MAX = 64, SITE_MAX = 3 };

struct rule {
    char pattern[PATTERN_MAX];
    struct quant_choice choice;
};

struct quant_plan {
    struct quant_scheme scheme;
    struct rule *rules;
    size_t n, room;
};

/* ---- making ---- */

int quant_plan_new(const char *scheme, struct quant_plan **ret_plan, struct error *err)
{
    struct quant_plan *plan = calloc(1, sizeof(*plan));
    int r = plan ? quant_scheme_parse(scheme, &plan->scheme, err)
                 : error_set(err, ST_NOMEM, "out of memory for a plan");

    if (r == ST_OK)
        *ret_plan = plan;
    else
        quant_plan_free(plan);
    return r;
}

void quant_plan_free(struct quant_plan *plan)
{
    if (!plan)
        return;
    free(plan->rules);
    free(plan);
}

static int grow(struct quant_plan *plan, struct error *err)
{
    const size_t room = plan->room ? 2 * plan->room : 16;
    struct rule *rules;

    if (plan->n < plan->room)
        return ST_OK;
    if (plan->n >= LIMIT_PLAN_MODULES)
        return error_set(err, ST_TOOLONG, "a plan has at most %u modules", LIMIT_PLAN_MODULES);
    rules = realloc(plan->rules, room * sizeof(*rules));
    if (!rules)
        return error_set(err, ST_NOMEM, "out of memory for a plan");
    plan->rules = rules;
    plan->room = room;
    return ST_OK;
}

int quant_plan_set(struct quant_plan *plan, const char *pattern, const char *choice,
                   struct error *err)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.*";
    const size_t len = strspn(pattern, letters);
    struct rule rule = {.pattern = ""};
    struct error why = {""};
    int r;

    if (!len || pattern[len] || len >= PATTERN_MAX)
        return error_set(
            err, ST_INVALID,
            "\"%.*s\" names no module: up to %d letters, digits, _ and . do, and * for "
            "any of them, as blk.*.ffn_down",
            (int)(len < PATTERN_MAX ? len : PATTERN_MAX), pattern, PATTERN_MAX - 1);
    r = quant_choice_parse(choice, &rule.choice, &why);
    if (r != ST_OK)
        return error_set(err, r, "\"%s\": %s", pattern, why.text);
    r = grow(plan, err);
    if (r != ST_OK)
        return r;
    memcpy(rule.pattern, pattern, len);
    plan->rules[plan->n++] = rule;
    return ST_OK;
}

struct reading {
    const char *name;
    struct quant_plan *plan;
};

static int read_line(void *arg, const char *module, const char *choice, struct error *err)
{
    struct reading *to = arg;
    struct error why = {""};
    int r = module ? quant_plan_set(to->plan, module, choice, &why)
                   : quant_plan_new(choice, &to->plan, &why);

    return r == ST_OK ? ST_OK : error_set(err, r, "%s: %s", to->name, why.text);
}

int quant_plan_parse(const char *name, const char *text, size_t len, struct quant_plan **ret_plan,
                     struct error *err)
{
    struct reading to = {.name = name};
    int r = plan_json_parse(name, text, len, &(struct plan_json_reader){read_line, &to}, err);

    if (r == ST_OK)
        *ret_plan = to.plan;
    else
        quant_plan_free(to.plan);
    return r;
}

int quant_plan_read(const char *path, struct quant_plan **ret_plan, struct error *err)
{
    struct reading to = {.name = path};
    int r = plan_json_read(path, &(struct plan_json_reader){read_line, &to}, err);

    if (r == ST_OK)
        *ret_plan = to.plan;
    else
        quant_plan_free(to.plan);
    return r;
}

/* ---- showing ---- */

char *quant_plan_json(const struct quant_plan *plan)
{
    char *text = NULL, label[QUANT_LABEL_MAX];
    size_t len;
    FILE *f = open_memstream(&text, &len);

    if (!f)
        return NULL;
    fprintf(f, "{\"version\": 1, \"default\": \"%s\", \"modules\": {",
            quant_scheme_label(&plan->scheme, label, sizeof(label)));
    for (size_t i = 0; i < plan->n; i++)
        fprintf(f, "%s\n  \"%s\": \"%s\"", i ? "," : "", plan->rules[i].pattern,
                quant_choice_label(&plan->rules[i].choice, label, sizeof(label)));
    fputs(plan->n ? "\n}}" : "}}", f);
    if (fclose(f) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

const char *quant_plan_label(const struct quant_plan *plan, char *buf, size_t len)
{
    const size_t at = plan->n ? (size_t)snprintf(buf, len, "mixed:") : 0;

    if (at < len)
        quant_scheme_label(&plan->scheme, buf + at, len - at);
    return buf;
}

bool quant_plan_is_q8_0(const struct quant_plan *plan)
{
    return !plan->n && quant_scheme_is_q8_0(&plan->scheme);
}

bool quant_plan_is_static(const struct quant_plan *plan)
{
    bool any = plan->scheme.body.act_static || plan->scheme.head.act_static;

    for (size_t i = 0; i < plan->n; i++)
        any |= plan->rules[i].choice.act_static != QUANT_DYNAMIC;
    return any;
}

bool quant_plan_embed_differs(const struct quant_plan *plan)
{
    return !quant_choice_same(&plan->scheme.embed, &plan->scheme.head);
}

const char *quant_plan_pattern(const struct quant_plan *plan, size_t i)
{
    return i < plan->n ? plan->rules[i].pattern : NULL;
}

/* ---- asking ---- */

/* Does text[len] fit? Where it does not, the last * takes one letter more. */
static bool fits(const char *pattern, const char *text, size_t len)
{
    const char *star = NULL;
    size_t at = 0, from = 0;

    while (at < len) {
        if (*pattern == '*') {
            star = ++pattern;
            from = at;
        } else if (*pattern == text[at]) {
            pattern++;
            at++;
        } else if (star) {
            pattern = star;
            at = ++from;
        } else {
            return false;
        }
    }
    return pattern[strspn(pattern, "*")] == '\0';
}

bool quant_plan_fits(const char *pattern, const char *module)
{
    return fits(pattern, module, strlen(module));
}

static size_t module_len(const char *name)
{
    static const char suffix[] = ".weight";
    const size_t len = strlen(name), cut = sizeof(suffix) - 1;

    return len > cut && strcmp(name + len - cut, suffix) == 0 ? len - cut : len;
}

const struct quant_choice *quant_plan_choice(const struct quant_plan *plan, const char *name,
                                             bool tied)
{
    const size_t len = module_len(name);

    for (size_t i = plan->n; i-- > 0;)
        if (fits(plan->rules[i].pattern, name, len))
            return &plan->rules[i].choice;
    return quant_scheme_choice(&plan->scheme, name, tied);
}

/* The choice of another matrix of name's layer. */
static const struct quant_choice *beside(const struct quant_plan *plan, const char *name,
                                         const char *module)
{
    const char *layer = strncmp(name, "blk.", 4) == 0 ? strchr(name + 4, '.') : NULL;
    char other[128];

    snprintf(other, sizeof(other), "%.*s.%s", layer ? (int)(layer - name) : 0, name, module);
    return quant_plan_choice(plan, other, false);
}

/* The matrices of integers that read what `name` reads. */
static size_t site_of(const struct quant_plan *plan, const char *name,
                      const struct quant_choice *ret[SITE_MAX])
{
    static const char *const sites[][SITE_MAX] = {{"attn_q", "attn_k", "attn_v"},
                                                  {"ffn_gate", "ffn_up"}};
    const char *module = strncmp(name, "blk.", 4) == 0 ? strchr(name + 4, '.') : NULL;
    const size_t len = module ? module_len(++module) : 0;
    size_t n = 0;

    for (size_t s = 0; len && s < sizeof(sites) / sizeof(sites[0]); s++) {
        bool here = false;
        for (size_t i = 0; i < SITE_MAX && sites[s][i]; i++)
            here |= strlen(sites[s][i]) == len && memcmp(sites[s][i], module, len) == 0;
        for (size_t i = 0; here && i < SITE_MAX && sites[s][i]; i++) {
            ret[n] = beside(plan, name, sites[s][i]);
            n += ret[n]->bits <= 8;
        }
    }
    return n;
}

/* How integers that read the same have it quantized: by s alone, then as they agree. */
static void agree(struct quant_spec *s, const struct quant_choice *const *site, size_t n, size_t k)
{
    size_t least = quant_padded(s, k), most = least;
    uint32_t act = quant_act_group(s);

    for (size_t i = 0; i < n; i++) {
        struct quant_choice c = *site[i];
        c.act_zero = s->act_zero != 0;
        const struct quant_spec other = quant_spec_for(&c, QUANT_PLAIN, k, 0);
        const size_t kp = quant_padded(&other, k);
        act = quant_act_group(&other) < act ? quant_act_group(&other) : act;
        least = kp < least ? kp : least;
        most = kp > most ? kp : most;
    }
    /* Rows padded to different widths have groups of 32 in common. */
    if (most % s->group)
        s->group = 32;
    if (least != most || most % act)
        act = 32;
    s->act_group = act == s->group ? 0 : act;
}

struct quant_spec quant_plan_spec(const struct quant_plan *plan, const char *name,
                                  enum quant_role role, size_t k, uint32_t head_block, bool tied)
{
    const struct quant_choice *site[SITE_MAX], *own = quant_plan_choice(plan, name, tied);
    struct quant_choice c = *own;
    struct quant_spec s;
    const size_t n = own->bits <= 8 ? site_of(plan, name, site) : 0;

    for (size_t i = 0; i < n; i++) {
        c.block = site[i]->block < c.block ? site[i]->block : c.block;
        c.act_zero |= site[i]->act_zero;
        c.act_static = site[i]->act_static < c.act_static ? site[i]->act_static : c.act_static;
    }
    if (c.act_static && strcmp(name, "token_embd.weight") == 0)
        c.act_static = tied ? QUANT_STATIC : QUANT_DYNAMIC; /* rows are looked up as they are */
    s = quant_spec_for(&c, role, k, head_block);
    if (n)
        agree(&s, site, n, k);
    if (role == QUANT_V && own->bits <= 8 && own->block) {
        const struct quant_choice *o = beside(plan, name, "attn_output");
        s.block_out = quant_spec_for(o, QUANT_O, k, head_block).block_in;
    }
    return s;
}
