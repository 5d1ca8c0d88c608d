/* infer_outputs.h - the tensors that a model gives by the Open Inference Protocol, and their
 * writing as JSON or bytes. */
#ifndef SERVER_HANDLERS_INFER_OUTPUTS_H
#define SERVER_HANDLERS_INFER_OUTPUTS_H

#include "handlers/score.h"
#include "http/tensors.h"
#include "json/json_out.h"

/* What every row got. */
struct infer_scores {
    uint32_t n_rows, n_results;
    uint32_t *result;     /* (n_rows); of a row that is not ok 0 */
    float *confidence;    /* (n_rows); NaN where not ok */
    float *distance;      /* (n_rows) or NULL */
    float *probabilities; /* (n_rows, n_results) or NULL; NaN where not ok */
    uint8_t *status;      /* (n_rows) enum infer_status */
};
enum infer_status { INFER_OK, INFER_INSUFFICIENT, INFER_INVALID };

/* An output of one request. */
struct infer_output {
    unsigned which; /* a row of the table of outputs */
    bool binary;
};

/* The outputs that q asks for, in its order, or all of them; how many. Faults are added for those
 * that the model does not have. */
uint32_t infer_outputs_choose(const struct served_model *served, const struct tensor_request *q,
                              struct infer_output ret[TENSOR_OUTPUTS_MAX], struct faults *f);
/* The "outputs" of a model's metadata, as a member of the open object. */
void infer_outputs_describe(const struct served_model *served, struct json_out *o);
/* The "outputs" of a reply; the bytes of binary ones are appended to bytes. */
void infer_outputs_write(const struct served_model *served, const struct infer_scores *s,
                         const struct infer_output *outputs, uint32_t n, struct json_out *o,
                         struct score_text *bytes);

#endif
