/* choices_file.h - questions with choices to pick from, as JSON lines, and the tokens of each
 * (question, choice) pair.
 *
 *   {"question": "The sky is", "choices": ["blue", "loud"], "answer": 0}
 *
 * Other members are ignored, empty lines too. Question and choice are joined by a space, unless the
 * question ends or the choice begins with white space. Scored are the tokens of the joined text
 * from the first on that the question alone does not have.
 * Owner:   the subcommand.
 * Memory:  choices_done() gives everything back; a zeroed struct is fine.
 * Errors:  ST_FORMAT with a sentence that names file and line.
 * Threads: the main thread only. */
#ifndef OCTET_TOOLS_CHOICES_FILE_H
#define OCTET_TOOLS_CHOICES_FILE_H

#include "tools/eval_run.h"

struct choice_question {
    size_t line;  /* of the file, from 1 */
    size_t first; /* its texts are texts[first .. first + n) */
    uint32_t n, answer;
};

struct choices {
    struct choice_question *questions;
    struct eval_text *texts;
    size_t *bytes; /* of each text's choice */
    size_t n_questions, n_texts, n_scores;
    uint32_t n_max;                  /* tokens of the longest text */
    size_t question_room, text_room; /* how many fit */
};

#define CHOICES_MAX 64u /* choices of a question */

/* data: the file's text, name for messages. */
int choices_parse(const struct model *model, const char *name, const char *data, size_t len,
                  struct choices *ret_choices, struct error *err);
void choices_done(struct choices *choices);

#endif
