#include "tools/bench_roofline.h"

struct bench_cost bench_cost(const struct model_info *model, const struct runner_info *runner)
{
    return (struct bench_cost){
        .row_macs = model->row_macs,
        .head_macs = model->head_macs,
        .step_bytes = model->step_bytes,
        .position_bytes = (double)runner->page_bytes / runner->page_tokens,
        .fp32 = model->precision == MODEL_FP32,
        .threads = runner->threads,
    };
}

double bench_step_bytes(const struct bench_cost *cost, const struct bench_shape *shape)
{
    /* Step i of generate, from 0, reads prompt + i + 1 positions of each sequence. */
    double positions = (double)shape->prompt + ((double)shape->generate + 1) / 2;

    return (double)cost->step_bytes + shape->batch * positions * cost->position_bytes;
}

bool bench_is_product(enum runner_part part)
{
    return part == PART_QKV || part == PART_O || part == PART_GATE_UP || part == PART_DOWN ||
           part == PART_HEAD;
}

double bench_product_rate(const struct runner_profile *profile, enum runner_part part,
                          unsigned threads)
{
    double macs = 0, seconds = 0;

    for (enum runner_part p = 0; p < RUNNER_PARTS; p++)
        if (bench_is_product(p) && (p == part || part == RUNNER_PARTS)) {
            macs += profile->product_macs[p];
            seconds += profile->seconds[p];
        }
    return seconds > 0 ? macs / seconds * threads : 0;
}

struct bench_roofline bench_roofline(const struct bench_cost *cost, const struct bench_shape *shape,
                                     const struct bench_times *times,
                                     const struct machine_limits *limits)
{
    const double row = (double)cost->row_macs, head = (double)cost->head_macs;
    const double steps_s = shape->generate / times->decode_s;
    struct bench_roofline r = {
        .read = limits->read_near > limits->read_far ? limits->read_near : limits->read_far,
        .peak = cost->fp32 ? limits->peak_f32 : limits->peak_i8,
    };

    double by_memory = shape->batch * r.read / (double)cost->step_bytes;
    double by_arithmetic = r.peak / (row + head);
    r.decode_tok_s = by_memory < by_arithmetic ? by_memory : by_arithmetic;
    r.prefill_tok_s = r.peak / (row + head / shape->prompt); /* only its last row has logits */
    r.decode = shape->batch * steps_s / r.decode_tok_s;
    r.prefill = (double)shape->batch * shape->prompt / times->prefill_s / r.prefill_tok_s;
    r.decode_read = steps_s * bench_step_bytes(cost, shape) / r.read;
    r.prefill_products = bench_product_rate(&times->prefill, RUNNER_PARTS, cost->threads) / r.peak;
    return r;
}
