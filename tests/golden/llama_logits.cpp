/* llama_logits - what llama.cpp itself computes for one model, in as much precision as it has: f32 keys and values,
 * no flash attention. (The weights are f32 if the file's are: make_golden.py converts it first.)
 *
 *     llama_logits MODEL OUT.f32 N
 *
 * stdin:  first line: ids; every further line: a text, in which \n is a line end and \\ a backslash.
 * OUT:    raw f32 [ids][vocabulary], the scores of every position.
 * stdout: first line: the N greedy ids that follow; second: by how much each led; then a line of ids for each text
 *         (special tokens parsed, no BOS). How to build it: README.md beside this file. */
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "llama.h"

static void die(const char *what)
{
    fprintf(stderr, "llama_logits: %s\n", what);
    exit(1);
}

/* Run ids from position past on; wants logits of all of them. */
static void decode(llama_context *ctx, const std::vector<llama_token> &ids, int past)
{
    llama_batch batch = llama_batch_init((int)ids.size(), 0, 1);

    batch.n_tokens = (int)ids.size();
    for (int i = 0; i < batch.n_tokens; i++) {
        batch.token[i] = ids[i];
        batch.pos[i] = past + i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    if (llama_decode(ctx, batch) != 0)
        die("llama_decode failed");
    llama_batch_free(batch);
}

static std::string unescape(const std::string &line)
{
    std::string text;

    for (size_t i = 0; i < line.size(); i++)
        if (line[i] == '\\' && i + 1 < line.size())
            text += line[++i] == 'n' ? '\n' : line[i];
        else
            text += line[i];
    return text;
}

static void print_tokens(const llama_vocab *vocab, const std::string &text)
{
    std::vector<llama_token> ids(text.size() + 8);
    int n = llama_tokenize(vocab, text.data(), (int)text.size(), ids.data(), (int)ids.size(), false, true);

    if (n < 0)
        die("llama_tokenize failed");
    for (int i = 0; i < n; i++)
        printf("%s%d", i > 0 ? " " : "", ids[i]);
    printf("\n");
}

int main(int argc, char **argv)
{
    if (argc != 4)
        die("wants MODEL OUT.f32 N");
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_backend_init();
    llama_model *model = llama_model_load_from_file(argv[1], llama_model_default_params());
    if (!model)
        die("can't load the model");
    const llama_vocab *vocab = llama_model_get_vocab(model);
    const int n_vocab = llama_vocab_n_tokens(vocab);

    llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = params.n_ubatch = 1024;
    params.n_threads = params.n_threads_batch = 1;
    params.type_k = params.type_v = GGML_TYPE_F32;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    llama_context *ctx = llama_init_from_model(model, params);
    if (!ctx)
        die("can't make a context");

    std::string line;
    std::getline(std::cin, line);
    std::istringstream numbers(line);
    std::vector<llama_token> ids;
    for (int id; numbers >> id;)
        ids.push_back(id);

    decode(ctx, ids, 0);
    std::ofstream out(argv[2], std::ios::binary);
    for (size_t i = 0; i < ids.size(); i++)
        out.write((const char *)llama_get_logits_ith(ctx, (int)i), (long)sizeof(float) * n_vocab);
    if (!out.flush())
        die("can't write the logits");

    std::ostringstream margins;
    int past = (int)ids.size();
    for (int i = 0; i < atoi(argv[3]); i++) {
        std::vector<float> scores(n_vocab);
        const float *logits = llama_get_logits_ith(ctx, -1);
        const int best = (int)(std::max_element(logits, logits + n_vocab) - logits);
        std::copy(logits, logits + n_vocab, scores.begin());
        std::nth_element(scores.begin(), scores.begin() + 1, scores.end(), std::greater<float>());
        printf("%s%d", i > 0 ? " " : "", best);
        margins << (i > 0 ? " " : "") << scores[0] - scores[1];
        decode(ctx, {best}, past++);
    }
    printf("\n%s\n", margins.str().c_str());
    while (std::getline(std::cin, line))
        print_tokens(vocab, unescape(line));
    llama_free(ctx);
    llama_model_free(model);
    return 0;
}
