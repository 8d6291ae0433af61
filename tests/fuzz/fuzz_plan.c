/* Plans of mixed precision: what is read is written as a plan that reads as the same. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "model/quant/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct quant_plan *plan = NULL, *again = NULL;
    struct error err = {""};

    if (quant_plan_parse("plan", (const char *)data, n, &plan, &err) != ST_OK) {
        assert(!plan && err.text[0]);
        return 0;
    }
    char *once = quant_plan_json(plan), *twice;
    assert(quant_plan_parse("again", once, strlen(once), &again, &err) == ST_OK);
    twice = quant_plan_json(again);
    assert(strcmp(once, twice) == 0);
    quant_plan_spec(plan, "blk.0.attn_v.weight", QUANT_V, 1100, 64, true);
    free(once);
    free(twice);
    quant_plan_free(plan);
    quant_plan_free(again);
    return 0;
}
